package inventory

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// maxIssuer bounds an issuer's name in bytes.
const maxIssuer = 128

// lastYear is the last one of an X.509 time (RFC 5280, section 4.1.2.5).
const lastYear = 9999

// Validate refuses, with ErrEntry or ErrEpoch, a shard that breaks any of its
// rules: a number below Shards, an epoch above 0, usable entries that belong
// to it, sorted by name, each name once.
func Validate(s Shard) error {
	if s.Number < 0 || s.Number >= Shards {
		return fmt.Errorf("%w: shard %d, want 0 to %d", ErrEntry, s.Number, Shards-1)
	}
	if err := follows(s.Epoch, 0); err != nil {
		return err
	}
	if len(s.Entries) > MaxEntries {
		return fmt.Errorf("%w: %d entries, at most %d", ErrEntry, len(s.Entries), MaxEntries)
	}
	last := ""
	for _, e := range s.Entries {
		if err := checkEntry(e, s.Number); err != nil {
			return err
		}
		if e.Name <= last {
			return fmt.Errorf("%w: %s comes after %s, want each name once and in order", ErrEntry, e.Name, last)
		}
		last = e.Name
	}
	return nil
}

// checkEntry looks at one entry of the shard with this number.
func checkEntry(e fleet.Entry, shard int) error {
	if err := fleet.CheckDomain(e.Name); err != nil {
		return fmt.Errorf("%w: %w", ErrEntry, err)
	}
	if n := ShardOf(e.Name); n != shard {
		return fmt.Errorf("%w: %s belongs to shard %d", ErrEntry, e.Name, n)
	}
	if err := checkTime(e.Changed); err != nil {
		return fmt.Errorf("%w: %s: changed: %w", ErrEntry, e.Name, err)
	}
	check := checkLive
	if e.Removed {
		check = checkTombstone
	}
	if err := check(e); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrEntry, e.Name, err)
	}
	return nil
}

func checkTombstone(e fleet.Entry) error {
	if !e.Bundle.IsZero() || !e.NotAfter.IsZero() || e.Source != "" || e.Issuer != "" {
		return errors.New("a tombstone with more than a name and a time")
	}
	return nil
}

func checkLive(e fleet.Entry) error {
	if e.Bundle.IsZero() {
		return errors.New("no bundle")
	}
	if err := checkTime(e.NotAfter); err != nil {
		return fmt.Errorf("not after: %w", err)
	}
	if e.Source != fleet.SourceImport && e.Source != fleet.SourceACME {
		return fmt.Errorf("unknown source %.32q", e.Source)
	}
	if printable(e.Issuer) != e.Issuer {
		return fmt.Errorf("issuer %.200q is not at most %d bytes of printable text", e.Issuer, maxIssuer)
	}
	return nil
}

func checkTime(t time.Time) error {
	switch {
	case t.Unix() <= 0 || t.Year() > lastYear:
		return errors.New("time is missing or out of range")
	case t.Location() != time.UTC || t.Nanosecond() != 0:
		return errors.New("time is not in whole seconds UTC")
	}
	return nil
}

func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// printable is s with '?' for what a terminal should not get, cut to
// maxIssuer bytes between characters.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) <= maxIssuer {
		return s
	}
	end := maxIssuer
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

package ticket

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// ErrRing is returned for a ring that must not be used.
var ErrRing = errors.New("not a usable ring")

// Bounds of the texts in a ring, in bytes.
const (
	maxBy    = 128
	maxEvent = 64
)

// lastYear is the last one that RFC 3339 can write.
const lastYear = 9999

var (
	causes = []fleet.Cause{
		fleet.CauseCreated, fleet.CauseSchedule, fleet.CauseCLI, fleet.CauseEvent,
		fleet.CauseAdopt, fleet.CausePromote, fleet.CauseEmergency,
	}
	origins = []fleet.Origin{fleet.OriginLeader, fleet.OriginEvent, fleet.OriginFile}
)

// Validate refuses, with ErrRing, a ring that breaks any of its rules: an
// epoch above 0, 2 to fleet.MaxRingKeys usable keys of different names, times
// in whole seconds UTC that fit the roles, bounded texts and lists.
func Validate(r fleet.Ring) error {
	if err := validate(r); err != nil {
		return fmt.Errorf("%w: %w", ErrRing, err)
	}
	return nil
}

func validate(r fleet.Ring) error {
	if r.Epoch == 0 {
		return errors.New("epoch 0, the first is 1")
	}
	if err := checkTime(r.Changed); err != nil {
		return fmt.Errorf("changed: %w", err)
	}
	if !slices.Contains(causes, r.Cause) {
		return fmt.Errorf("unknown cause %.32q", r.Cause)
	}
	if r.By != "" {
		if err := checkText(r.By, maxBy); err != nil {
			return fmt.Errorf("by: %w", err)
		}
	}
	if err := checkList(r.Skipped, fleet.MaxNodes, fleet.CheckName); err != nil {
		return fmt.Errorf("skipped nodes: %w", err)
	}
	event := func(id string) error { return checkText(id, maxEvent) }
	if err := checkList(r.Events, fleet.MaxRingEvents, event); err != nil {
		return fmt.Errorf("events: %w", err)
	}
	return checkKeys(r)
}

// checkKeys looks at the keys of the ring, each alone and all together.
func checkKeys(r fleet.Ring) error {
	members := r.Members()
	if len(members) > fleet.MaxRingKeys {
		return fmt.Errorf("%d keys, at most %d", len(members), fleet.MaxRingKeys)
	}
	seen := make(map[fleet.KeyName]fleet.Role, len(members))
	retired := r.Changed
	for _, m := range members {
		if err := checkMember(m, r.Changed); err != nil {
			return fmt.Errorf("%s key: %w", m.Role, err)
		}
		if role, found := seen[m.Key.Name()]; found {
			return fmt.Errorf("%s key and %s key are both named %s", role, m.Role, m.Key.Name())
		}
		seen[m.Key.Name()] = m.Role
		if m.Role == fleet.RolePrevious {
			if m.Key.Retired.After(retired) {
				return fmt.Errorf("previous key %s is not in order, newest first", m.Key.Name())
			}
			retired = m.Key.Retired
		}
	}
	return nil
}

// checkMember looks at one key. Its times say which roles it has had: born,
// then promoted unless it is next, then retired if it is previous.
func checkMember(m fleet.Member, changed time.Time) error {
	if m.Key.IsZero() {
		return errors.New("missing")
	}
	if _, err := CheckKey(m.Key.Raw.Reveal()); err != nil {
		return err
	}
	if !slices.Contains(origins, m.Key.Origin) {
		return fmt.Errorf("unknown origin %.32q", m.Key.Origin)
	}
	past := []time.Time{m.Key.Born, m.Key.Promoted, m.Key.Retired}
	had := map[fleet.Role]int{fleet.RoleNext: 1, fleet.RoleCurrent: 2, fleet.RolePrevious: 3}[m.Role]
	for _, t := range past[had:] {
		if !t.IsZero() {
			return fmt.Errorf("key %s has a time that belongs to a later role", m.Key.Name())
		}
	}
	for _, t := range past[:had] {
		if err := checkTime(t); err != nil {
			return fmt.Errorf("key %s: %w", m.Key.Name(), err)
		}
	}
	if !slices.IsSortedFunc(append(past[:had:had], changed), time.Time.Compare) {
		return fmt.Errorf("key %s has times out of order", m.Key.Name())
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

// checkList wants at most limit different texts, each accepted by check.
func checkList(list []string, limit int, check func(string) error) error {
	if len(list) > limit {
		return fmt.Errorf("%d entries, at most %d", len(list), limit)
	}
	seen := make(map[string]bool, len(list))
	for _, s := range list {
		if err := check(s); err != nil {
			return err
		}
		if seen[s] {
			return fmt.Errorf("%q twice", s)
		}
		seen[s] = true
	}
	return nil
}

// checkText wants 1 to limit bytes of printable UTF-8. The error never
// repeats a long text.
func checkText(s string, limit int) error {
	if s == "" || len(s) > limit {
		return fmt.Errorf("text of %d bytes, want 1 to %d", len(s), limit)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("text %q is not UTF-8", s)
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			return fmt.Errorf("text %q has %q in it", s, c)
		}
	}
	return nil
}

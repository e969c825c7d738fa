package agent

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// mostCopyErr is how much of an error about an archive is reported, in bytes.
const mostCopyErr = 300

// ArchiveStatus is the copy in one archive, as the leader reports it.
type ArchiveStatus struct {
	fleet.Archive
	Behind int `json:"lag_seconds"` // for how long a change has not been copied; 0: all is copied
}

func archiveStatus(list []fleet.Archive, now time.Time) []ArchiveStatus {
	var all []ArchiveStatus
	for _, a := range list {
		all = append(all, ArchiveStatus{a, int(a.Lag(now).Seconds())})
	}
	return all
}

// report tells how far the copies are until ctx ends.
func (a *archives) report(ctx context.Context) {
	defer a.told(nil)
	tick := time.NewTicker(a.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.told(a.states())
		}
	}
}

func (a *archives) states() []fleet.Archive {
	list := make([]fleet.Archive, 0, len(a.list))
	for _, c := range a.list {
		list = append(list, c.state())
	}
	return list
}

// state is how far the copy is.
func (c *copying) state() fleet.Archive {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := fleet.Archive{Name: c.name, Copied: c.copied.UTC().Truncate(time.Second)}
	if c.since.IsZero() {
		return s
	}
	s.Since, s.Pending = c.since.UTC().Truncate(time.Second), c.waits()
	if c.err != nil && !errors.Is(c.err, errMoved) {
		text := c.err.Error()
		s.Err = strings.ToValidUTF8(text[:min(len(text), mostCopyErr)], "")
	}
	return s
}

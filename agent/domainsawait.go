package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// DomainsTally counts certificates that are waited for.
type DomainsTally struct {
	All     int `json:"all"`
	Issued  int `json:"issued"`
	Waiting int `json:"waiting"`
	Parked  int `json:"parked"`
}

// awaitLook is how often certificates that are waited for are looked at, at most.
const awaitLook = 100 * time.Millisecond

// AwaitDomains waits until the certificates of wishes, which AddDomains has taken,
// are issued, and gives back those that are not: because they are parked, are not
// tried again before ctx's deadline, or it has come. One without a state is not
// obtained by anybody any more. progress is told each time something has changed.
func (c *Console) AwaitDomains(ctx context.Context, wishes []issuance.Wish, progress func(DomainsTally)) ([]DomainStatus, error) {
	wishes, err := usableWishes(wishes, chooser(c.cfg), profileNames(c.cfg))
	if err != nil {
		return nil, err
	}
	var ids []string
	last := map[string]DomainStatus{}
	for _, w := range wishes {
		id := issuance.ID(w.Names)
		ids, last[id] = append(ids, id), DomainStatus{Names: w.Names}
	}
	deadline, bounded := ctx.Deadline()
	var told DomainsTally
	for open := ids; ; {
		began := time.Now()
		if err = c.lookAt(ctx, open, last); err == nil {
			if now := tally(last); now != told {
				told = now
				progress(now)
			}
			open = slices.DeleteFunc(slices.Clone(open), func(id string) bool { return settled(last[id], deadline, bounded) })
			if len(open) == 0 {
				break
			}
			// At most a tenth of the time goes into looking.
			err = sleep(ctx, max(awaitLook, 10*time.Since(began)))
		}
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	var rest []DomainStatus
	for _, id := range ids {
		if last[id].State != issuance.Issued {
			rest = append(rest, last[id])
		}
	}
	return rest, nil
}

// lookAt reads items anew.
func (c *Console) lookAt(ctx context.Context, ids []string, last map[string]DomainStatus) error {
	now := map[string]DomainStatus{}
	bad, err := c.store.ItemsOf(ctx, ids, func(it issuance.Item) { now[it.ID()] = domainStatus(it) })
	if err != nil {
		return err
	}
	for _, err := range bad {
		return err
	}
	for _, id := range ids {
		d, ok := now[id]
		if !ok {
			d = DomainStatus{Names: last[id].Names}
		}
		last[id] = d
	}
	return nil
}

// settled reports whether nothing more happens to a certificate before the
// deadline.
func settled(d DomainStatus, deadline time.Time, bounded bool) bool {
	switch d.State {
	case issuance.Issued, issuance.Parked, "":
		return true
	case issuance.Waiting:
		return bounded && d.Next.After(deadline)
	default:
		return false
	}
}

func tally(all map[string]DomainStatus) DomainsTally {
	t := DomainsTally{All: len(all)}
	for _, d := range all {
		switch d.State {
		case issuance.Issued:
			t.Issued++
		case issuance.Waiting:
			t.Waiting++
		case issuance.Parked:
			t.Parked++
		default:
		}
	}
	return t
}

package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// AddDomains asks for certificates: one for each wish, whose names may be in any
// form that inventory.Normalize takes. A wish that is asked for already changes
// nothing. All are refused if one of them cannot be used (fleet.ErrDomain,
// issuance.ErrItem); one that has a name of another certificate is left out, with
// ErrTakenDomain, and all others are taken. progress, if not nil, is told how many are
// handed over. It returns when a leader has taken all of them, or with
// ErrNoLeader; then they stay in the queue.
func (c *Console) AddDomains(ctx context.Context, wishes []issuance.Wish, by string, progress func(done, total int)) error {
	wishes, err := normalized(wishes)
	if err != nil {
		return err
	}
	if err := c.ask(ctx, issuance.Add, wishes, by, progress); err != nil {
		return err
	}
	refused, err := c.missing(ctx, wishes)
	if err == nil && len(refused) > 0 {
		err = fmt.Errorf("add %s: %w (%d names in all)", refused[0], ErrTakenDomain, len(refused))
	}
	return err
}

// normalized brings wishes into stored form and leaves duplicates out.
func normalized(wishes []issuance.Wish) ([]issuance.Wish, error) {
	seen := map[string]string{} // name -> ID
	var out []issuance.Wish
	for _, w := range wishes {
		var names []string
		for _, name := range w.Names {
			stored, err := inventory.Normalize(name)
			if err != nil {
				return nil, err
			}
			names = append(names, stored)
		}
		it, err := issuance.New(names, w.Group, w.Profile, time.Now())
		if err != nil {
			return nil, err
		}
		id, again := it.ID(), false
		for _, name := range it.Names {
			if other, ok := seen[name]; ok && other != id {
				return nil, fmt.Errorf("add %s: %w of the same list", name, ErrTakenDomain)
			} else if ok {
				again = true
			}
			seen[name] = id
		}
		if !again {
			out = append(out, issuance.Wish{Names: it.Names, Group: w.Group, Profile: w.Profile})
		}
	}
	return out, nil
}

// missing are the names of wishes that no leader has made an item of.
func (c *Console) missing(ctx context.Context, wishes []issuance.Wish) ([]string, error) {
	ids := make([]string, len(wishes))
	for i, w := range wishes {
		ids[i] = issuance.ID(w.Names)
	}
	known, err := c.store.HasItems(ctx, ids)
	if err != nil {
		return nil, err
	}
	var names []string
	for i, w := range wishes {
		if !known[ids[i]] {
			names = append(names, w.Names...)
		}
	}
	return names, nil
}

// EndDomains stops obtaining certificates for names. Without keep the names are
// not served any more either, as far as what serves them was obtained here.
func (c *Console) EndDomains(ctx context.Context, names []string, keep bool, by string) error {
	do := issuance.Remove
	if keep {
		do = issuance.Forget
	}
	return c.askNamed(ctx, do, names, by)
}

// RetryDomains gives certificates that wait or are parked another chance now.
func (c *Console) RetryDomains(ctx context.Context, names []string, by string) error {
	return c.askNamed(ctx, issuance.Retry, names, by)
}

// askNamed asks for something to be done with certificates that there are.
// ErrUnknownDomain if one of the names belongs to none; then nothing is done.
func (c *Console) askNamed(ctx context.Context, do issuance.Verb, names []string, by string) error {
	var wishes []issuance.Wish
	for _, name := range names {
		stored, err := inventory.Normalize(name)
		if err != nil {
			return err
		}
		wishes = append(wishes, issuance.Wish{Names: []string{stored}})
	}
	alone, err := c.missing(ctx, wishes)
	if err != nil {
		return err
	}
	rest, err := c.unknown(ctx, alone)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%s %s: %w", do, strings.Join(rest, " "), ErrUnknownDomain)
	}
	return c.ask(ctx, do, wishes, by, nil)
}

// unknown are the names that are in no certificate. It reads the whole journal,
// which is only needed for certificates of several names.
func (c *Console) unknown(ctx context.Context, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	left := map[string]bool{}
	for _, name := range names {
		left[name] = true
	}
	if _, err := c.store.Items(ctx, func(it issuance.Item) {
		for _, name := range it.Names {
			delete(left, name)
		}
	}); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(left)), nil
}

// What a request holds, and how long a leader has to take it.
const (
	askMost  = 1000
	takeTime = 15 * time.Second
	takeLook = 50 * time.Millisecond
)

// ask leaves requests in the queue and waits until they are taken.
func (c *Console) ask(ctx context.Context, do issuance.Verb, wishes []issuance.Wish, by string, progress func(done, total int)) error {
	done := 0
	for batch := range slices.Chunk(wishes, askMost) {
		r := issuance.Request{At: time.Now().UTC().Truncate(time.Second), By: by, Do: do, Wishes: batch}
		id, err := c.store.PutRequest(ctx, r)
		if err != nil {
			return err
		}
		if err := c.awaitTaken(ctx, id); err != nil {
			return err
		}
		done += len(batch)
		if progress != nil {
			progress(done, len(wishes))
		}
	}
	return nil
}

// awaitTaken waits until a request is not in the queue any more.
func (c *Console) awaitTaken(ctx context.Context, id string) error {
	end := time.Now().Add(takeTime)
	for {
		queue, err := c.store.Requests(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(queue, func(q store.QueuedRequest) bool { return q.ID == id })
		if i < 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("await request: %w after %s: it waits in the queue", ErrNoLeader, takeTime)
		}
		timer := time.NewTimer(takeLook)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

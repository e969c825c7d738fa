package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// What a request holds, and how long a leader has to take the next one.
const (
	askMost  = 1000
	askBytes = issuance.MaxRequest - 4<<10
	takeTime = 15 * time.Second
	takeLook = 50 * time.Millisecond
)

// handover is a list of wishes on its way to the leader.
type handover struct {
	do     issuance.Verb
	by     string
	rest   [][]issuance.Wish // not in the queue yet
	queued []queuedPart      // not taken yet, the oldest first
}

// queuedPart is a request in the queue.
type queuedPart struct {
	id    string
	count int
}

// ask leaves requests in the queue, as many as fit, and waits until a leader has
// taken all. ErrNoLeader if none does for takeTime: what is in the queue stays
// there. store.ErrBacklog if there is no room for the first one.
func (c *Console) ask(ctx context.Context, do issuance.Verb, wishes []issuance.Wish, by string, progress func(done, total int)) error {
	h := handover{do: do, by: by, rest: batches(wishes)}
	done := 0
	for end := time.Now().Add(takeTime); done < len(wishes); {
		if err := c.enqueue(ctx, &h); err != nil {
			return err
		}
		n, err := c.taken(ctx, &h)
		switch {
		case err != nil:
			return err
		case n > 0:
			done += n
			end = time.Now().Add(takeTime)
			if progress != nil {
				progress(done, len(wishes))
			}
			continue
		case time.Now().After(end):
			return h.abandoned(len(wishes) - done)
		}
		if err := sleep(ctx, takeLook); err != nil {
			return err
		}
	}
	return nil
}

// enqueue leaves as many requests as the queue takes.
func (c *Console) enqueue(ctx context.Context, h *handover) error {
	for len(h.rest) > 0 {
		part := h.rest[0]
		id, err := c.store.PutRequest(ctx, issuance.Request{At: time.Now().UTC().Truncate(time.Second), By: h.by, Do: h.do, Wishes: part})
		if errors.Is(err, store.ErrBacklog) && len(h.queued) > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		h.queued, h.rest = append(h.queued, queuedPart{id, len(part)}), h.rest[1:]
	}
	return nil
}

// taken forgets what is not in the queue any more, and says for how many
// certificates that was.
func (c *Console) taken(ctx context.Context, h *handover) (int, error) {
	ids, err := c.store.RequestIDs(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	h.queued = slices.DeleteFunc(h.queued, func(q queuedPart) bool {
		gone := !slices.Contains(ids, q.id)
		if gone {
			n += q.count
		}
		return gone
	})
	return n, nil
}

// abandoned is the error for a list of which so many were not taken.
func (h *handover) abandoned(left int) error {
	outside := 0
	for _, part := range h.rest {
		outside += len(part)
	}
	err := fmt.Errorf("%s: %w for %s: %d certificates wait in the queue", h.do, ErrNoLeader, takeTime, left-outside)
	if outside > 0 {
		err = fmt.Errorf("%w, for %d there was no room", err, outside)
	}
	return err
}

// batches cuts wishes into what fits in one request.
func batches(wishes []issuance.Wish) [][]issuance.Wish {
	var out [][]issuance.Wish
	size := 0
	for _, w := range wishes {
		text, err := json.Marshal(w)
		if err != nil {
			panic(err) // strings can always be written
		}
		last := len(out) - 1
		if last < 0 || len(out[last]) == askMost || size+len(text) >= askBytes {
			out, size = append(out, nil), 0
			last++
		}
		out[last] = append(out[last], w)
		size += len(text) + 1
	}
	return out
}

// sleep waits, or not if ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

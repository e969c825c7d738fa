package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// Errors of a rotation of the keyring. What was done stays, and the rotation goes
// on from there when it is called again.
var (
	// ErrKeyringHeld means that nodes are not as far as the next step needs them.
	ErrKeyringHeld = errors.New("the rotation of the keyring waits for nodes")
	// ErrResealing means that not every record is sealed with the new key yet.
	ErrResealing = errors.New("not everything is sealed with the new key")
)

// askAgain is how often the leader is asked once more because somebody has written
// with the old key after it was done.
const askAgain = 3

// KeyringRequest is what an operator asks for.
type KeyringRequest struct {
	Force    bool                  // go on although nodes or archives are not as far
	Patience time.Duration         // how long to wait for any news
	Progress func(KeyringProgress) // told while waiting; may be nil
}

// KeyringProgress is how far it is.
type KeyringProgress struct {
	Step        string             // what is waited for
	Lacks       []handlers.KeyLack // by whom
	Seen, Total int                // records
}

// KeyringRotated says what was done.
type KeyringRotated struct {
	Key     string   `json:"key"`               // id of the key that seals now or is to
	Began   bool     `json:"began,omitempty"`   // it was made by this call
	Retired []string `json:"retired,omitempty"` // ids of keys that this call took out of the file
	Passed  []string `json:"passed,omitempty"`  // nodes that were passed over by force
}

// Rotate goes through a rotation of the keyring, from wherever the last call left
// it: a new key that opens only; when every node has it, it seals; when every node
// seals with it, all records are sealed anew; when that is done the other keys go.
// Each step is a change of the file on this host, which a person has to bring to
// the other hosts. The error wraps ErrKeyringHeld or ErrResealing if it has to be
// called again.
func (k *Keyrings) Rotate(ctx context.Context, q KeyringRequest) (KeyringRotated, error) {
	r := &keyringRotation{Keyrings: k, q: q}
	err := r.run(ctx)
	return r.done, err
}

// keyringRotation is one call of Rotate.
type keyringRotation struct {
	*Keyrings
	q    KeyringRequest
	ring *seal.Keyring
	done KeyringRotated

	last  string    // progress, to tell whether there is any
	since time.Time // of it
}

func (r *keyringRotation) run(ctx context.Context) error {
	err := r.own()
	if err != nil {
		return err
	}
	if r.ring, err = seal.Load(r.path); err != nil {
		return err
	}
	if err := r.hand(ctx, r.ring); err != nil {
		return err
	}
	rotation, err := r.store.Rotation(ctx)
	if err != nil {
		return err
	}
	if to := *r.target(&rotation.Rotation); r.ring.Next() == "" && len(r.ring.IDs()) == 1 && to != r.ring.Sealing() {
		if err := r.begin(ctx); err != nil {
			return err
		}
	}
	if next := r.ring.Next(); next != "" {
		if err := r.promote(ctx, next); err != nil {
			return err
		}
	}
	r.done.Key = r.ring.Sealing()
	if len(r.ring.IDs()) > 1 {
		if err := r.retire(ctx); err != nil {
			return err
		}
	}
	if err := r.await(ctx, "no node has an old key any more", handlers.LackEnd, r.done.Key); err != nil {
		return err
	}
	return r.note(ctx, "")
}

// begin adds a key to a fleet in which all nodes have the one before.
func (r *keyringRotation) begin(ctx context.Context) error {
	if err := r.await(ctx, "every node has the keyring as it is", handlers.LackEnd, r.ring.Sealing()); err != nil {
		return err
	}
	next, err := r.ring.Add(rand.Reader)
	if err != nil {
		return err
	}
	r.done.Began = true
	return r.replace(ctx, next)
}

// promote lets the new key seal when every node has it.
func (r *keyringRotation) promote(ctx context.Context, next string) error {
	r.done.Key = next
	if err := r.note(ctx, next); err != nil {
		return err
	}
	if err := r.await(ctx, "every node has the new key", handlers.LackKey, next); err != nil {
		return err
	}
	promoted, err := r.ring.Promote()
	if err != nil {
		return err
	}
	return r.replace(ctx, promoted)
}

// retire takes the old keys away when nothing needs them any more.
func (r *keyringRotation) retire(ctx context.Context) error {
	if err := r.note(ctx, r.done.Key); err != nil {
		return err
	}
	if err := r.await(ctx, "every node seals with the new key", handlers.LackSeal, r.done.Key); err != nil {
		return err
	}
	for try := 1; ; try++ {
		if err := r.reseal(ctx); err != nil {
			return err
		}
		left, err := r.left(ctx)
		if err != nil {
			return err
		}
		if left == 0 {
			break
		}
		if try == askAgain {
			return fmt.Errorf("%w: %d records were written with an old key meanwhile: look who does, and run this again", ErrResealing, left)
		}
		if err := r.ask(ctx); err != nil {
			return err
		}
	}
	if err := r.archives(ctx); err != nil {
		return err
	}
	old := r.ring.IDs()[1:]
	if err := r.replace(ctx, r.ring.Retire()); err != nil {
		return err
	}
	r.done.Retired = old
	return nil
}

// replace writes the file, goes on with it, and gives it to the nodes that get it
// from Consul.
func (r *keyringRotation) replace(ctx context.Context, now *seal.Keyring) error {
	if err := seal.Replace(r.path, r.ring, now); err != nil {
		return err
	}
	r.ring = now
	if err := r.reopen(); err != nil {
		return err
	}
	return r.hand(ctx, now)
}

// note keeps in Consul which key the rotation is to, so that a call after the last
// step ends it and does not begin another one.
func (r *keyringRotation) note(ctx context.Context, to string) error {
	return r.edit(ctx, func(rot *store.Rotation) {
		*r.target(rot) = to
		rot.Forced = ""
		if r.q.Force {
			rot.Forced = to
		}
	})
}

// ask lets the leader look at all records once more.
func (r *keyringRotation) ask(ctx context.Context) error {
	return r.edit(ctx, func(rot *store.Rotation) { rot.Ask++ })
}

func (r *keyringRotation) edit(ctx context.Context, change func(*store.Rotation)) error {
	rec, err := r.store.Rotation(ctx)
	if err != nil {
		return err
	}
	rot := rec.Rotation
	if change(&rot); rot == rec.Rotation {
		return nil
	}
	_, err = r.store.PutRotation(ctx, rot, rec.Index)
	return err
}

// lack is one of the questions of package handlers.
type lack func(nodes []fleet.Node, reports []fleet.Report, of handlers.KeysOf, optional bool, key string) []handlers.KeyLack

// await waits until no node lacks what a step needs, for as long as there is news.
func (r *keyringRotation) await(ctx context.Context, step string, lack lack, key string) error {
	return r.wait(ctx, ErrKeyringHeld, func() (KeyringProgress, bool, error) {
		nodes, reports, err := r.members(ctx)
		if err != nil {
			return KeyringProgress{}, false, err
		}
		lacks := lack(nodes, reports, r.of(), r.leaders, key)
		if !slices.ContainsFunc(nodes, fleet.Node.InService) {
			lacks = []handlers.KeyLack{{Node: "Consul's catalog", Why: "lists no node in service"}}
		}
		p := KeyringProgress{Step: step, Lacks: lacks}
		if r.q.Force {
			for _, l := range lacks {
				if !slices.Contains(r.done.Passed, l.Node) {
					r.done.Passed = append(r.done.Passed, l.Node)
				}
			}
			return p, true, nil
		}
		return p, len(lacks) == 0, nil
	})
}

// reseal seals anew what operators own, and waits until the leader has done so
// with all else.
func (r *keyringRotation) reseal(ctx context.Context) error {
	if !r.leaders {
		done, err := r.store.Reseal(ctx, store.OperatorArea, "", nil)
		if err != nil {
			return err
		}
		for path, err := range done.Bad {
			r.log.Error("record cannot be opened, left as it is", "path", path, "err", err)
		}
	}
	return r.wait(ctx, ErrResealing, func() (KeyringProgress, bool, error) {
		rotation, err := r.store.Rotation(ctx)
		if err != nil {
			return KeyringProgress{}, false, err
		}
		state, err := r.store.SealState(ctx)
		if err != nil {
			return KeyringProgress{}, false, err
		}
		_, reports, err := r.members(ctx)
		if err != nil {
			return KeyringProgress{}, false, err
		}
		p := KeyringProgress{Step: "the leader has sealed every record with the new key"}
		if s := sealingOf(reports); s != nil {
			p.Seen, p.Total = s.Seen, s.Total
		}
		return p, r.sealed(state) == r.done.Key && state.Ask == rotation.Rotation.Ask, nil
	})
}

// left is how many records are sealed with one of the old keys, as far as an
// operator may read them. The leader has looked at the others.
func (r *keyringRotation) left(ctx context.Context) (int, error) {
	if r.leaders {
		return 0, nil
	}
	count, err := r.store.Tally(ctx, store.ReadableArea, func(seen, total int) {
		r.tell(KeyringProgress{Step: "no record is sealed with an old key", Seen: seen, Total: total})
	})
	left := 0
	for _, id := range r.ring.IDs()[1:] {
		left += count[id]
	}
	return left, err
}

// archives waits until the copies outside Consul are under the new key too.
func (r *keyringRotation) archives(ctx context.Context) error {
	return r.wait(ctx, ErrResealing, func() (KeyringProgress, bool, error) {
		p := KeyringProgress{Step: "the copies outside Consul are sealed with the new key"}
		_, reports, err := r.members(ctx)
		if err != nil {
			return p, false, err
		}
		if r.q.Force {
			return p, true, nil
		}
		p.Lacks = archivesLack(sealingOf(reports), r.done.Key, r.leaders)
		return p, len(p.Lacks) == 0, nil
	})
}

// archivesLack is what keeps the copies outside Consul from being under a key
// alone. What the leader has told of another key says nothing.
func archivesLack(s *fleet.Sealing, key string, leaders bool) []handlers.KeyLack {
	switch {
	case s == nil || !s.Done || leaders && s.Leaders != key || !leaders && s.Key != key:
		return []handlers.KeyLack{{Node: "the leader", Why: "has not told about its archives yet"}}
	case len(s.Behind) > 0:
		return []handlers.KeyLack{{Node: "archive " + strings.Join(s.Behind, ", "), Why: "has records under an old key"}}
	case s.Bad > 0:
		return []handlers.KeyLack{{Node: "the leader", Why: fmt.Sprintf("cannot open %d records, which its log names", s.Bad)}}
	}
	return nil
}

// wait asks again and again until it is done, or nothing changes for too long:
// then the error wraps reason and says what is waited for.
func (r *keyringRotation) wait(ctx context.Context, reason error, ask func() (KeyringProgress, bool, error)) error {
	r.last, r.since = "", time.Now()
	tick := time.NewTicker(poll / 4)
	defer tick.Stop()
	for {
		p, done, err := ask()
		if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrDenied) {
			p, done = KeyringProgress{Step: "Consul answers: " + err.Error()}, false
		} else if err != nil {
			return err
		}
		r.tell(p)
		if done {
			return nil
		}
		if time.Since(r.since) > r.q.Patience {
			if len(p.Lacks) > 0 {
				return fmt.Errorf("%w until %s: %s", reason, p.Step, handlers.DescribeKeys(p.Lacks))
			}
			return fmt.Errorf("%w: waited until %s", reason, p.Step)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// tell passes progress on and notes when there was any.
func (r *keyringRotation) tell(p KeyringProgress) {
	if now := fmt.Sprint(p); now != r.last {
		r.last, r.since = now, time.Now()
	}
	if r.q.Progress != nil {
		r.q.Progress(p)
	}
}

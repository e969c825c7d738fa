package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// How a wait for sites can end.
var (
	// ErrHalted means that canaries could not serve the sites, or some of them: no
	// other node does.
	ErrHalted = errors.New("the sites are halted")
	// ErrUnserved means that not every node has served the sites in time.
	ErrUnserved = errors.New("not every node serves the sites")
	// ErrNoSites means that the fleet has none.
	ErrNoSites = errors.New("the fleet has no sites")
)

// SitesState is how far the sites are.
type SitesState struct {
	Epoch   uint64         `json:"epoch"`             // as operators want them
	Waves   bool           `json:"waves,omitempty"`   // there are nodes that have waves
	Wave    *handlers.Wave `json:"wave,omitempty"`    // nil: there is none, or the leader has not seen the sites
	Served  int            `json:"served"`            // nodes in service that serve what they have to
	Waiting []string       `json:"waiting,omitempty"` // the others
	Error   string         `json:"error,omitempty"`   // why it cannot be told
}

// Text is the state for a person.
func (s SitesState) Text() string {
	w, epoch := s.Wave, s.Epoch
	switch {
	case !s.Waves:
	case w == nil || w.Epoch < s.Epoch:
		return fmt.Sprintf("epoch %d: waiting for the leader", s.Epoch)
	case w.State == handlers.WaveCanary && len(w.Canaries) == 0:
		return fmt.Sprintf("epoch %d: waiting for a node that can try it", w.Epoch)
	case w.State == handlers.WaveCanary:
		return fmt.Sprintf("epoch %d: to be served by %s first", w.Epoch, strings.Join(w.Canaries, " "))
	case w.State == handlers.WaveProving:
		return fmt.Sprintf("epoch %d: to be proved by %s", w.Epoch, strings.Join(w.Canaries, " "))
	case w.State == handlers.WaveHalted:
		return fmt.Sprintf("epoch %d is halted: %s", w.Epoch, haltedWhy(*w))
	default:
		epoch = w.Epoch
	}
	text := fmt.Sprintf("epoch %d: served by %d of %d nodes", epoch, s.Served, s.Served+len(s.Waiting))
	if s.Waves && len(w.Out) > 0 {
		text += ", with these as they were: " + fewNames(slices.Sorted(maps.Keys(w.Out)))
	}
	if len(s.Waiting) > 0 {
		text += ", waiting for " + strings.Join(s.Waiting, " ")
	}
	return text
}

// sitesState takes a look; nil: the fleet has no sites.
func (c *Console) sitesState(ctx context.Context, nodes []fleet.Node, reports []fleet.Report) (*SitesState, error) {
	head, err := c.store.SiteHead(ctx)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	s := &SitesState{Epoch: head.Head.Epoch, Waves: slices.ContainsFunc(reports, func(r fleet.Report) bool { return r.Waves })}
	var w handlers.Wave
	if s.Waves {
		rec, err := c.store.Wave(ctx)
		if err != nil && !errors.Is(err, store.ErrMissing) {
			return nil, err
		}
		if err == nil {
			w, s.Wave = rec.Wave, &rec.Wave
		}
	}
	for _, n := range nodes {
		if !n.InService() {
			continue
		}
		serves := slices.ContainsFunc(reports, func(r fleet.Report) bool {
			if r.Waves {
				return r.Node == n.Name && w.Epoch > 0 && r.Sites == w.MayApply(n.Name)
			}
			return r.Node == n.Name && r.Sites == s.Epoch
		})
		if serves {
			s.Served++
		} else {
			s.Waiting = append(s.Waiting, n.Name)
		}
	}
	return s, nil
}

// done reports whether every node serves the sites of an epoch, or of a newer
// one, these among them. The error wraps ErrHalted.
func (s SitesState) done(epoch uint64, ids []string) (bool, error) {
	switch w := s.Wave; {
	case s.Epoch < epoch:
		return false, nil
	case !s.Waves:
		return s.Served > 0 && len(s.Waiting) == 0, nil
	case w == nil || w.Epoch < epoch:
		return false, nil
	case w.State == handlers.WaveHalted:
		return false, fmt.Errorf("%w at epoch %d: %s", ErrHalted, w.Epoch, haltedWhy(*w))
	case w.State != handlers.WaveRolled || s.Served == 0 || len(s.Waiting) > 0:
		return false, nil
	default:
		out := slices.DeleteFunc(slices.Sorted(maps.Keys(w.Out)), func(id string) bool { return !slices.Contains(ids, id) })
		if len(out) > 0 {
			return false, fmt.Errorf("%w in part at epoch %d: a canary could not serve these, and they stay as they were: %s", ErrHalted, w.Epoch, fewNames(out))
		}
		return true, nil
	}
}

// AwaitSites waits until every node in service serves the sites of this epoch,
// or of a newer one. The error wraps ErrHalted, which names the reason, also if
// one of these IDs is left out of it, or ErrUnserved.
func (c *Console) AwaitSites(ctx context.Context, epoch uint64, ids []string, told func(SitesState)) error {
	last := errors.New("no answer of Consul")
	n := c.listen(ctx)
	defer n.stop()
	for {
		s, err := c.lookSites(ctx)
		switch {
		case err != nil:
			if ctx.Err() == nil {
				last = err
			}
		case s == nil:
			return ErrNoSites
		default:
			told(*s)
			last = errors.New(s.Text())
			if all, err := s.done(epoch, ids); all || err != nil {
				return err
			}
		}
		if !n.pause(ctx) {
			return fmt.Errorf("%w: %w", ErrUnserved, last)
		}
	}
}

func (c *Console) lookSites(ctx context.Context) (*SitesState, error) {
	reports, _, err := c.store.Reports(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := c.store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	return c.sitesState(ctx, nodes, reports)
}

// RetrySites has the sites as they are go to the nodes once more, to all at once
// or canaries first, and returns their new epoch. ErrNoSites if there are none.
func (c *Console) RetrySites(ctx context.Context, now bool) (uint64, error) {
	epoch, err := c.store.AgainSites(ctx, now)
	if errors.Is(err, store.ErrMissing) {
		err = fmt.Errorf("%w: %w", ErrNoSites, err)
	}
	return epoch, err
}

// again takes sites that are as an edit wants them to the nodes, if they are not
// there, at a new epoch of their own: what failed beside them stays out.
func (c *Console) again(ctx context.Context, done store.SitesEdited, edit store.SiteEdit) (store.SitesEdited, error) {
	rec, err := c.store.Wave(ctx)
	if errors.Is(err, store.ErrDenied) && !edit.Now {
		return done, nil // by a token from before waves
	}
	if err != nil {
		return done, ignoreMissing(err) // there are no waves
	}
	head, err := c.store.SiteHead(ctx)
	if err != nil {
		return done, ignoreMissing(err)
	}
	set := map[string]uint64{}
	for _, id := range done.Unchanged {
		if e, ok := head.Head.Find(id); ok && !e.Removed() {
			set[id] = e.Epoch
		}
	}
	edit.Again = rec.Wave.Again(set, head.Head.Epoch, edit.Now)
	if len(edit.Again) == 0 {
		return done, nil
	}
	return c.store.EditSites(ctx, edit)
}

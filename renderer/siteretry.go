package renderer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
)

// How soon a site that nginx has refused is tried again although nothing that is
// known to matter has changed: what it was refused for may be in the operator's
// configuration, or a port that others held.
const (
	siteRetry     = time.Minute // then twice as long each time
	siteRetryMost = time.Hour
)

// TrySites tests the active release's sites with those that are left out and
// whose time has come, and changes nothing. It returns those that nginx takes
// now, so that a release made now serves them.
func (r *Renderer) TrySites(ctx context.Context, rel Release, now time.Time) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := map[string]refusedSite{}
	for id := range r.madeSites().Left {
		if was := r.refused[id]; !now.Before(was.next) {
			due[id] = was
			delete(r.refused, id)
		}
	}
	if len(due) == 0 {
		return nil, nil
	}
	for id, was := range due {
		if stillTaken(ctx, was.why) {
			r.refused[id] = was // nginx -t would not notice
		}
	}
	made, err := r.trySites(ctx, rel, due)
	var taken []string
	for id, was := range due {
		next, refused := r.refused[id]
		switch {
		case err == nil && made.Kept == "" && made.Left[id] == "":
			taken = append(taken, id)
			was = refusedSite{} // looked at again if no release has it
		case refused:
			next.wait = was.wait
			was = next
		}
		was.wait = min(max(2*was.wait, siteRetry), siteRetryMost)
		was.next = now.Add(was.wait)
		r.refused[id] = was
	}
	slices.Sort(taken)
	if err != nil {
		return nil, fmt.Errorf("try sites again: %w", err)
	}
	return taken, nil
}

// stillTaken reports whether a site was refused for a port that others listen on
// and still do.
func stillTaken(ctx context.Context, why string) bool {
	for _, m := range socketBlamed.FindAllStringSubmatch(why, -1) {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", m[1])
		if err == nil {
			err = l.Close()
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return true
		}
	}
	return false
}

// trySites stages releases, until nginx takes one or says nothing of sites, and
// removes them. Without one of the sites that are due there is nothing to try.
func (r *Renderer) trySites(ctx context.Context, rel Release, due map[string]refusedSite) (SitesMade, error) {
	b, err := r.build(ctx)
	if err != nil {
		return SitesMade{}, err
	}
	in := r.inspection()
	for tries := 0; ; tries++ {
		m, files, err := r.stage(rel, in, b.version)
		if err != nil {
			return SitesMade{}, err
		}
		var verdict error
		for id := range due {
			if m.Sites.Left[id] == "" {
				verdict = r.testStaged(ctx, m.Release)
				break
			}
		}
		if err := os.RemoveAll(r.cfg.releaseDir(m.Release)); err != nil {
			return SitesMade{}, errors.Join(verdict, fmt.Errorf("remove release %d: %w", m.Release, err))
		}
		var refused *refusal
		if !errors.As(verdict, &refused) || tries == mostBlamed || !r.blameSites(rel.Sites, m.Sites, files, refused.text) {
			return m.Sites, verdict
		}
	}
}

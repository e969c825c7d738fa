package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/metrics"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// When a leader copies.
const (
	copyQuiet  = 500 * time.Millisecond // after a change, for those that come with it
	copyIdle   = time.Minute            // without any news: single records are not watched
	copyBehind = 5 * time.Minute        // a copy that lags for so long is told
	copyTell   = 5 * time.Second        // how often it is looked at
	copyRetry  = time.Second            // first retry
	sweepEvery = 6 * time.Hour
	sweepGrace = 24 * time.Hour // objects that no copy needs stay for so long
)

// archives are the copies that a leader keeps. Each goes its own pace, and
// nothing waits for any of them.
type archives struct {
	log   hclog.Logger
	store *store.Store
	list  []*copying
	every time.Duration         // how often told hears of them
	told  func([]fleet.Archive) // nil: this node leads no more
}

// openArchives makes them as the configuration says.
func openArchives(cfg config.Config, st *store.Store, problems *problems, processors *Processors, log hclog.Logger) (*archives, error) {
	all := &archives{log: log, store: st, every: copyTell, told: func([]fleet.Archive) {}}
	if !cfg.Leader.Eligible {
		return all, nil
	}
	for _, a := range cfg.Archives {
		target, err := openArchive(cfg, a)
		if err != nil {
			all.close()
			return nil, err
		}
		named := log.With("archive", a.Name)
		all.list = append(all.list, &copying{
			name: a.Name, log: named, problems: problems, behind: copyBehind, tell: copyTell, wake: newWake(), processors: processors,
			copier: &copier{log: named, store: st, fleet: cfg.Fleet, target: target},
		})
	}
	return all, nil
}

func (a *archives) close() {
	for _, c := range a.list {
		c.copier.target.Close()
	}
}

// changed notes that items of the journal may have changed. It returns at once.
func (a *archives) changed(ids ...string) {
	for _, c := range a.list {
		c.changed(ids...)
	}
}

// Run copies until ctx, which lasts as long as the lease, ends.
func (a *archives) Run(ctx context.Context) {
	if len(a.list) == 0 {
		return
	}
	var parts sync.WaitGroup
	for _, c := range a.list {
		c.begin()
		parts.Go(func() { c.run(ctx) })
		parts.Go(func() { c.show(ctx) })
	}
	parts.Go(func() { a.report(ctx) })
	parts.Go(func() {
		if err := a.store.WatchSiteHead(ctx, func(store.SiteHeadRecord, error) { a.changed() }); err != nil {
			a.log.Warn("sites not watched for their copies", "err", err)
		}
	})
	if err := a.store.WatchHead(ctx, func(store.HeadRecord, error) { a.changed() }); err != nil {
		a.log.Warn("inventory not watched for its copies", "err", err)
	}
	parts.Wait()
}

// lags is how far behind each copy is.
func (a *archives) lags() []metrics.Archive {
	list := make([]metrics.Archive, 0, len(a.list))
	for _, c := range a.list {
		lag, pending, _ := c.lag(time.Now()) //nolint:errcheck // why is a problem of its own
		list = append(list, metrics.Archive{Name: c.name, Lag: lag, Pending: pending})
	}
	return list
}

// behind names the archives that have records under other keys than those in Consul.
func (a *archives) behind(state store.SealState) []string {
	var names []string
	for _, c := range a.list {
		c.mu.Lock()
		if c.key != state.Key || c.leaders != state.Leaders {
			names = append(names, c.name)
		}
		c.mu.Unlock()
	}
	return names
}

// copying keeps the copy in one archive.
type copying struct {
	name     string
	log      hclog.Logger
	problems *problems
	copier   *copier
	behind   time.Duration
	tell     time.Duration
	wake     wake

	processors *Processors

	mu      sync.Mutex
	ids     map[string]bool // items that changed since the last pass began
	changes int
	since   time.Time // of the first change that is not copied; zero: there is none
	copied  time.Time // all that was in Consul then is copied; zero: not known yet
	pending int       // objects known to wait
	err     error     // of the last pass
	key     string    // id of the key that the copy is sealed with
	leaders string    // the same for what leaders alone can read
	swept   time.Time
}

func (c *copying) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids, c.since, c.copied, c.pending, c.err, c.swept = map[string]bool{}, time.Now(), time.Time{}, 0, nil, time.Now()
	c.key, c.leaders = "", ""
}

func (c *copying) changed(ids ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids == nil {
		return // not leading yet: the first pass looks at everything
	}
	for _, id := range ids {
		c.ids[id] = true
	}
	c.changes++
	if c.since.IsZero() {
		c.since = time.Now()
	}
	c.wake.give()
}

// lag is for how long a change has not been copied.
func (c *copying) lag(now time.Time) (time.Duration, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		return 0, 0, nil
	}
	return max(now.Sub(c.since), 0), c.waits(), c.err
}

// waits is how many objects are known to wait while something does; the caller
// holds the lock.
func (c *copying) waits() int { return max(c.pending, 1, len(c.ids)) }

// run copies what changes, and tries again what fails, until ctx ends.
func (c *copying) run(ctx context.Context) {
	loaded := false
	wait, retry := time.Duration(0), time.Duration(0)
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-c.woken(wait):
			timer.Stop()
			quiet := time.NewTimer(copyQuiet)
			select {
			case <-ctx.Done():
				quiet.Stop()
				return
			case <-quiet.C:
			}
		}
		err := c.once(ctx, &loaded)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			wait, retry = copyIdle, 0
		case errors.Is(err, errMoved):
			wait = copyQuiet
		default:
			retry = min(max(2*retry, copyRetry), copyIdle)
			wait = retry - 1 // not woken
			c.log.Warn("copy not up to date", "next", wait, "err", err)
		}
	}
}

// woken is the wake of changes, but not while a failure is waited out.
func (c *copying) woken(wait time.Duration) <-chan struct{} {
	if wait != copyIdle {
		return nil
	}
	return c.wake
}

// once is one pass.
func (c *copying) once(ctx context.Context, loaded *bool) error {
	defer c.processors.Use()()
	c.mu.Lock()
	began, changes, ids := time.Now(), c.changes, c.ids
	c.ids = map[string]bool{}
	c.mu.Unlock()
	err := c.pass(ctx, ids, loaded)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err, c.key, c.leaders = err, c.copier.manifest.Key, c.copier.manifest.Leaders
	if err == nil {
		c.copied = began
	}
	switch {
	case err != nil && c.since.IsZero():
		c.since = began
	case err == nil && changes == c.changes:
		c.since, c.pending = time.Time{}, 0
	case err == nil:
		c.since = began
	}
	return err
}

func (c *copying) pass(ctx context.Context, ids map[string]bool, loaded *bool) error {
	if !*loaded {
		c.copier.pending = c.waiting
		if err := c.copier.load(ctx); err != nil {
			return err
		}
		*loaded = true
	}
	for id := range ids {
		c.copier.dirty[id] = true
	}
	before := c.copier.manifest.At
	if err := c.copier.pass(ctx, time.Now().UTC().Truncate(time.Second)); err != nil {
		return err
	}
	if m := c.copier.manifest; !m.At.Equal(before) {
		c.log.Debug("copied", "epoch", m.Epoch, "names", m.Names, "items", m.Items)
	}
	if time.Since(c.swept) < sweepEvery {
		return nil
	}
	c.swept = time.Now()
	n, err := c.copier.sweep(ctx, sweepGrace)
	if n > 0 {
		c.log.Info("objects that no copy needs removed", "objects", n)
	}
	if err != nil && ctx.Err() == nil {
		c.log.Warn("objects that no copy needs not removed", "err", err)
	}
	return nil
}

func (c *copying) waiting(objects int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = objects
}

// show tells of a copy that is behind until ctx ends.
func (c *copying) show(ctx context.Context) {
	owner := "archive-" + c.name
	defer c.problems.replace(owner)
	tick := time.NewTicker(c.tell)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		lag, _, err := c.lag(time.Now())
		if lag < c.behind {
			c.problems.replace(owner)
			continue
		}
		if err == nil {
			err = errors.New("the archive is slow")
		}
		c.problems.replace(owner, fleet.Problem{
			Code: "archive-behind", Severity: fleet.Warning,
			Message: fmt.Sprintf("the copy in archive %s lacks changes since %s: %v", c.name, time.Now().Add(-lag).UTC().Format(time.RFC3339), err),
			Hint:    "certificates are served, obtained and renewed all the same; it catches up by itself when the archive can be written",
		})
	}
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// siteLook is how often is looked for what nobody tells: another nginx, files on
// network file systems.
const siteLook = time.Minute

// siteFollower keeps this node's nginx on the fleet's sites and on the backends
// that they have in Consul's catalog.
type siteFollower struct {
	log      hclog.Logger
	store    *store.Store
	renderer *renderer.Renderer
	view     *view
	problems *problems
	cfg      config.Config
	serving  *tlsServing
	ask      func(reason string)
	begin    chan struct{} // closed when the certificates that are served are known
	again    wake          // something else may have changed that sites depend on

	mail   mailbox[store.SiteHeadRecord]
	target store.SiteHeadRecord      // to be followed, where no leader says what is
	waves  mailbox[store.WaveRecord] // with waves
	wave   store.WaveRecord          // accepted last
	unled  unled
	behind bool                        // the target or the wave has not been followed yet
	mixed  bool                        // sites has some of another epoch than head
	early  uint64                      // epoch that this node serves before any other was rolled out; 0: none
	head   site.Head                   // followed, as far as sites has it
	sites  map[string]store.SiteRecord // by ID
	ready  bool                        // sites is all of them
	proof  *siteProver
	tried  siteDelta
	clash  map[string]string // why sites are left out of what is composed
	wait   time.Duration
	next   time.Time // when to try to follow again
	asked  fleet.Hash
	last   map[string][]site.Backend // of services, by store.Service.String
	pool   servicePool

	processors *Processors

	mu  sync.Mutex
	now renderer.Sites // for a release made now
}

func newSiteFollower(a *Agent, probs *problems, serving *tlsServing) *siteFollower {
	f := &siteFollower{
		log: a.log.Named("sites"), store: a.store, renderer: a.renderer, view: a.view, problems: probs, cfg: a.cfg,
		serving: serving, ask: a.follower.asked.ask, begin: make(chan struct{}), again: newWake(),
		processors: a.follower.processors,
	}
	f.now.Keep = true
	f.mail.wake, f.waves.wake, f.pool.wake = newWake(), newWake(), newWake()
	f.proof = newSiteProver(a)
	return f
}

// wanted is what a release made now has to serve.
func (f *siteFollower) wanted() renderer.Sites {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Run follows until ctx ends. It starts from the node's own sealed copies, so
// that a restart with Consul away changes nothing.
func (f *siteFollower) Run(ctx context.Context) error {
	select {
	case <-f.begin:
	case <-ctx.Done():
		return nil
	}
	f.load()
	var parts sync.WaitGroup
	defer parts.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan error, 2)
	parts.Go(func() { watched <- f.watch(ctx) })
	parts.Go(func() {
		watched <- watchFolders(ctx, []string{f.cfg.Sites.TemplatesDir, f.cfg.Sites.SnippetsDir}, f.again.give)
	})
	defer f.pool.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case err := <-watched:
			return err
		case <-f.mail.wake:
			f.look()
		case <-f.waves.wake:
			f.look()
		case <-f.again:
		case <-f.pool.wake:
		case <-timer.C:
		}
		f.lookUnled(ctx, time.Now())
		if f.behind && !time.Now().Before(f.next) {
			f.catchUp(ctx)
		}
		f.pool.use(ctx, f.store, f.services())
		later := f.compose(time.Now())
		f.prove(ctx, f.compare(ctx))
		if ctx.Err() != nil {
			return nil
		}
		timer.Reset(f.pause(later))
	}
}

func (f *siteFollower) pause(later time.Duration) time.Duration {
	wait := fleet.UntilBeat(siteLook)
	if later > 0 {
		wait = min(wait, later)
	}
	if f.unled.wordless {
		wait = min(wait, max(time.Until(f.unled.next), 0))
	}
	if f.behind {
		wait = min(wait, max(time.Until(f.next), 0))
	}
	return wait
}

// watch follows the list of sites as operators write it; with waves, the leader's
// word on which of them this node has to serve.
func (f *siteFollower) watch(ctx context.Context) error {
	if f.cfg.Sites.Waves {
		return f.store.WatchWave(ctx, f.waves.put)
	}
	return f.store.WatchSiteHead(ctx, f.mail.put)
}

// look takes what the watch has read.
func (f *siteFollower) look() {
	var err error
	if f.cfg.Sites.Waves {
		var wave *store.WaveRecord
		if wave, err = f.waves.take(); wave != nil {
			f.accept(*wave)
		}
		if f.unheard(err) {
			return
		}
	} else {
		var head *store.SiteHeadRecord
		if head, err = f.mail.take(); head != nil {
			f.target, f.behind, f.wait, f.next = *head, true, 0, time.Time{}
		}
	}
	f.tellContact(err)
}

// tellContact tells what keeps this node from knowing the sites.
func (f *siteFollower) tellContact(err error) {
	switch {
	case err == nil:
		f.problems.replace("sites-contact")
	case errors.Is(err, store.ErrMissing) && f.head.Epoch == 0 && f.view.current().Sites.Epoch == 0:
		f.ready = true // a fleet without sites
		f.problems.replace("sites-contact")
	case errors.Is(err, store.ErrMissing):
		f.problems.replace("sites-contact", fleet.Problem{
			Code: "sites-missing", Severity: fleet.Alarm, Message: "Consul has no sites although there were some: keeping every site",
			Hint: "check this node's ACL token and whether the KV prefix was deleted",
		})
	case errors.Is(err, store.ErrRecord):
		f.problems.replace("sites-contact", fleet.Problem{Code: "sites-unreadable", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "compare this node's keyring with the others'"})
	case errors.Is(err, store.ErrDenied):
		f.problems.replace("sites-contact", fleet.Problem{Code: "sites-denied", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "let this node's ACL token read the fleet's keys; until then it serves the sites it has"})
	}
}

// catchUp follows what the watch has read last.
func (f *siteFollower) catchUp(ctx context.Context) {
	if f.led() {
		f.obey(ctx)
		return
	}
	f.follow(ctx, f.target)
}

// follow reads the sites that have changed. What is missing stays; only a
// tombstone removes.
func (f *siteFollower) follow(ctx context.Context, rec store.SiteHeadRecord) {
	lost := site.Regressed(f.head, rec.Head)
	if rec.Head.Epoch < f.head.Epoch || len(lost) > 0 {
		f.behind = false
		f.problems.replace("sites", fleet.Problem{
			Code: "sites-refused", Severity: fleet.Alarm,
			Message: fmt.Sprintf("the list of sites at epoch %d is older than epoch %d, which was followed, or has lost sites (%s): keeping every site",
				rec.Head.Epoch, f.head.Epoch, fewNames(lost)),
			Hint: "set the sites again after the restore of a snapshot: that makes a newer list",
		})
		return
	}
	changed := site.Changed(f.head, rec.Head)
	list, bad, err := f.store.Sites(ctx, changed)
	if err != nil {
		f.unread(err)
		return
	}
	var gone []string
	for _, e := range changed {
		if e.Removed() {
			gone = append(gone, e.ID)
		}
	}
	f.keep(rec, list, gone, bad)
}

// keep has the sites of a head that were read, without those that are gone. It
// counts as followed when all of them are here.
func (f *siteFollower) keep(rec store.SiteHeadRecord, list []store.SiteRecord, gone []string, bad map[string]error) {
	copies := map[string][]byte{}
	for _, r := range list {
		f.sites[r.Site.ID], copies[r.Site.ID] = r, f.store.Own(f.sitePath(r.Site.ID), r.Sealed)
	}
	for _, id := range gone {
		delete(f.sites, id)
	}
	if len(bad) == 0 {
		copies[headCopy] = f.store.Own(f.headPath(), rec.Sealed)
	}
	if err := f.renderer.SaveSites(copies, gone); err != nil {
		f.unsaved(err)
		return
	}
	f.ready = true
	f.log.Info("sites read", "epoch", rec.Head.Epoch, "changed", len(list), "removed", len(gone), "refused", len(bad))
	if len(bad) > 0 {
		f.problems.replace("sites", fleet.Problem{Code: "site-unreadable", Severity: fleet.Alarm, Message: reasons(bad),
			Hint: "set the site again; until then it is served as it was, if it was"})
		f.later()
		return
	}
	f.problems.replace("sites")
	f.head, f.behind, f.mixed = rec.Head, false, false
}

func (f *siteFollower) unread(err error) {
	f.problems.replace("sites", fleet.Problem{Code: "sites-unread", Severity: fleet.Warning, Message: err.Error()})
	f.later()
}

func (f *siteFollower) unsaved(err error) {
	f.problems.replace("sites", fleet.Problem{Code: "sites-unsaved", Severity: fleet.Alarm, Message: err.Error(), Hint: "check the disk under state_dir"})
	f.later()
}

// later tries to follow again after a growing pause.
func (f *siteFollower) later() {
	f.wait = min(max(2*f.wait, certRetry), certRetryMax)
	f.next = time.Now().Add(f.wait)
}

// reasons is why some are left out, in one text.
func reasons(bad map[string]error) string {
	texts := map[string]string{}
	for id, err := range bad {
		texts[id] = err.Error()
	}
	return siteReasons(texts)
}

func siteReasons(left map[string]string) string {
	var lines []string
	for _, id := range slices.Sorted(maps.Keys(left)) {
		lines = append(lines, fmt.Sprintf("site %s: %.300s", id, left[id]))
	}
	return fewOf(lines)
}

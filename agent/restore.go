package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// Sources of a Restored.
const (
	fromConsul = "consul"
	fromCopy   = "local copy"
	fromAgent  = "agent" // one is running and does all this itself
	fromNone   = "none"
)

// Restored says what Restore made ready.
type Restored struct {
	Mode   fleet.Mode `json:"mode"`
	Epoch  uint64     `json:"epoch"`
	Source string     `json:"source"` // "consul", "local copy", "agent", "none"
	Note   string     `json:"note,omitempty"`
}

// Restore makes this host ready for a start of nginx, whose key files are gone
// after a reboot: the ring from Consul if it answers within wait, else the
// sealed local copy, else a release with nginx's own keys. It signals nobody.
// While an agent runs it does nothing, because the agent does it. After an
// error nginx can start, if need be without tlsfleet, unless the operator's
// own configuration is refused.
func Restore(ctx context.Context, cfg config.Config, wait time.Duration, o Options) (res Restored, err error) {
	st, err := openStore(cfg, o.Log)
	if err != nil {
		return Restored{}, err
	}
	r, err := openRenderer(cfg, o)
	if errors.Is(err, renderer.ErrLocked) {
		return leftToAgent(cfg, err), nil
	}
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	b := boot{log: o.Log, store: st, renderer: r, cfg: cfg}
	if res, err = b.run(ctx, wait); err == nil {
		return res, nil
	}
	if why := r.Startable(ctx); why != nil {
		o.Log.Error("nginx starts without tlsfleet", "err", why)
		err = errors.Join(err, r.StepAside())
	}
	return res, err
}

// leftToAgent says what the running agent has made active.
func leftToAgent(cfg config.Config, locked error) Restored {
	res := Restored{Source: fromAgent, Note: "nothing done: " + locked.Error()}
	active, err := renderer.ReadActive(cfg.StateDir)
	if err != nil {
		res.Note += "; " + err.Error()
		return res
	}
	res.Mode, res.Epoch = active.Mode, active.Epoch
	return res
}

// boot is one run of Restore.
type boot struct {
	log      hclog.Logger
	store    *store.Store
	renderer *renderer.Renderer
	cfg      config.Config
}

func (b boot) run(ctx context.Context, wait time.Duration) (Restored, error) {
	local, localErr := b.local()
	if localErr != nil {
		b.log.Error("local copy of the ring not usable", "err", localErr)
	}
	rec, remoteErr := b.remote(ctx, wait, local)
	if remoteErr == nil {
		rel := renderer.Release{Mode: fleet.ModeRing, Ring: rec.Ring, Sealed: b.store.Own(store.RingPath, rec.Sealed), Reason: "restore at boot"}
		var note string
		if note, remoteErr = b.place(ctx, rel); remoteErr == nil {
			return Restored{Mode: fleet.ModeRing, Epoch: rec.Ring.Epoch, Source: fromConsul, Note: note}, nil
		}
	}
	b.log.Warn("ring from consul not used", "err", remoteErr)
	now := time.Now()
	contact := openContact(b.cfg.StateDir, now)
	if local != nil && !handlers.Stale(contact.last(), now, b.cfg.Ticket.StaleAfter) {
		if localErr = b.renderer.Startable(ctx); localErr == nil {
			return Restored{Mode: fleet.ModeRing, Epoch: local.Epoch, Source: fromCopy, Note: remoteErr.Error()}, nil
		}
	}
	return b.perHost(ctx, remoteErr, localErr)
}

// local writes the key files of the active release, so that whatever happens
// next nginx can start from it. It returns nil if there is no such ring.
func (b boot) local() (*fleet.Ring, error) {
	active, err := b.renderer.Active()
	if err != nil || len(active.Sealed) == 0 {
		return nil, err
	}
	ring, err := b.store.OpenRing(active.Sealed)
	if err != nil {
		return nil, err
	}
	if err := b.renderer.WriteKeys(ring); err != nil {
		return nil, err
	}
	return &ring, nil
}

// remote reads the ring from Consul and checks that this node may use it.
func (b boot) remote(ctx context.Context, wait time.Duration, local *fleet.Ring) (store.RingRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	rec, err := b.store.Ring(ctx)
	if err != nil {
		return rec, err
	}
	high, err := b.renderer.HighWater()
	if err != nil {
		return rec, err
	}
	s := handlers.NodeState{HighWater: high}
	if local != nil {
		s.Mode, s.Epoch, s.Key = fleet.ModeRing, local.Epoch, local.Current.Name()
	}
	if _, err := handlers.PlanRing(s, rec.Ring); err != nil {
		return rec, err
	}
	return rec, b.renderer.SetHighWater(rec.Ring.Epoch)
}

// place makes the release active unless one of the same ring is and nginx can
// start from it. A release that nothing includes is noted, not an error.
func (b boot) place(ctx context.Context, rel renderer.Release) (note string, err error) {
	active := b.active()
	if active.Release > 0 && active.Mode == rel.Mode && active.Epoch == rel.Ring.Epoch {
		if rel.Mode == fleet.ModeRing {
			err = b.renderer.WriteKeys(rel.Ring)
		}
		if err == nil && b.renderer.Startable(ctx) == nil {
			return "", nil
		}
	}
	rel.TLS = b.servers(ctx)
	rel.Challenges = challengesOf(b.cfg.ACME, active.Challenges.Thumbprint)
	rel.Sites = b.sites()
	err = b.renderer.Restore(ctx, rel)
	if errors.Is(err, renderer.ErrNotIncluded) {
		return err.Error(), nil
	}
	return "", err
}

// active is the active release; a damaged one counts as none.
func (b boot) active() renderer.Active {
	active, err := b.renderer.Active()
	if err != nil {
		b.log.Error("active release unreadable", "err", err)
		return renderer.Active{}
	}
	return active
}

// servers is what the agent would serve with the certificates on this host.
func (b boot) servers(ctx context.Context) renderer.TLSServers {
	version, err := b.renderer.NginxVersion(ctx)
	if err != nil {
		b.log.Warn("nginx does not tell its version", "err", err)
	}
	live, err := b.renderer.Live()
	if err != nil {
		b.log.Error("served certificates not read in full", "err", err)
	}
	t := tlsServing{log: b.log, cfg: b.cfg.Certificates, renderer: b.renderer, view: &view{nginx: version}, served: &served{}}
	t.served.reset(live)
	return t.servers()
}

// sites is what the agent served last.
func (b boot) sites() renderer.Sites {
	f := &siteFollower{log: b.log, store: b.store, renderer: b.renderer, cfg: b.cfg, problems: newProblems(func() {}), now: renderer.Sites{Keep: true}}
	f.load()
	f.compose(time.Now())
	return f.wanted()
}

// perHost is the last resort: nginx starts, with keys shared with nobody.
func (b boot) perHost(ctx context.Context, causes ...error) (Restored, error) {
	note := "no ring could be used: " + errors.Join(causes...).Error()
	more, err := b.place(ctx, renderer.Release{Mode: fleet.ModePerHost, Reason: "restore at boot: " + note})
	if err != nil {
		return Restored{}, fmt.Errorf("fall back to keys of this host: %w", err)
	}
	if more != "" {
		note += "; " + more
	}
	return Restored{Mode: fleet.ModePerHost, Source: fromNone, Note: note}, nil
}

package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/oklog/run"
	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/leader"
	"github.com/tlsfleet/tlsfleet/agent/metrics"
	"github.com/tlsfleet/tlsfleet/agent/notify"
	"github.com/tlsfleet/tlsfleet/agent/probe"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/status"
	"github.com/tlsfleet/tlsfleet/agent/status/web"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// Options are what an agent needs besides its configuration.
type Options struct {
	Version string // of tlsfleet, for the report
	Log     hclog.Logger
	NewLog  func(config.Log) hclog.Logger // for a changed configuration; nil: Log stays
	OnStep  func(step string)             // see renderer.Config; nil outside tests

	Processors *Processors // nil: the Go runtime decides
}

// Agent is one node's agent under one configuration.
type Agent struct {
	cfg      config.Config
	log      hclog.Logger
	store    *store.Store
	renderer *renderer.Renderer
	hub      *hub
	view     *view
	follower *follower
	certs    *certFollower
	answers  *answers
	sites    *siteFollower
	presence *presence
	lead     *lead
	gateway  *gateway
	guard    *guard
	notifier *notify.Notifier
	metrics  *metrics.Metrics
	manager  *serviceManager
	pages    *web.Pages
	handout  *handout // nil: a person brings the keyring
}

// New checks that the agent can run here: keyring, folders, the only agent on
// them. Consul and nginx may both be away. The caller runs it, then closes it.
func New(cfg config.Config, o Options) (*Agent, error) {
	st, err := openAgentStore(cfg, o.Log)
	if err != nil {
		return nil, err
	}
	return newAgent(cfg, o, st)
}

func newAgent(cfg config.Config, o Options, st *store.Store) (*Agent, error) {
	obtain, err := issuing(cfg, o.Log.Named("dns"))
	if err != nil {
		return nil, err
	}
	notifier, err := openNotifier(cfg, o.Log.Named("notify"))
	if err != nil {
		return nil, err
	}
	tell := notices{fleet: cfg.Fleet, tell: notifier.Notify, ends: notifier.Wants(notify.Expiring)}
	r, err := openRenderer(cfg, o)
	if err != nil {
		return nil, err
	}
	reportWake, leadWake := newWake(), newWake()
	probs := newProblems(reportWake.give)
	h, err := openHub(cfg.Fleet, cfg.StateDir, cfg.Ticket.AcceptEventKeys, o.Log.Named("events"), probs, leadWake.give)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	book, err := openLedger(cfg.StateDir)
	if err != nil {
		o.Log.Warn("certificates in quarantine forgotten, trying them again", "err", err)
	}
	kept, err := openArchives(cfg, st, probs, o.Processors, o.Log.Named("archive"))
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	m := metrics.New()
	v := &view{node: cfg.Node, version: o.Version, waves: cfg.Sites.Waves, problems: probs, changed: reportWake.give, keys: st.Keys(), leaderKeys: st.LeaderKeys()}
	a := &Agent{
		cfg: cfg, log: o.Log, store: st, renderer: r, hub: h, view: v, notifier: notifier, metrics: m,
		certs: &certFollower{
			log: o.Log.Named("certs"), store: st, renderer: r, view: v, problems: probs,
			maxLoss: float64(cfg.Certificates.MaxLossPercent) / 100, keep: cfg.Certificates.KeepReplaced,
			ledger: book, refused: blames{wake: newWake()}, processors: o.Processors,
		},
		follower: &follower{
			log: o.Log.Named("follow"), store: st, renderer: r, view: v, problems: probs,
			pace:    handlers.Pace{Splay: cfg.Reload.Splay, Quiet: cfg.Reload.Quiet, MaxQuiet: cfg.Reload.MaxQuiet, MinInterval: cfg.Reload.MinInterval},
			contact: openContact(cfg.StateDir, time.Now()), reprove: cfg.Nginx.ReproveEvery, staleAfter: cfg.Ticket.StaleAfter, ringRead: leadWake.give,
			processors: o.Processors,
		},
		presence: &presence{
			log: o.Log.Named("presence"), store: st, view: v, problems: probs, wake: reportWake,
			reg: store.Registration{Node: cfg.Node, Address: cfg.Address, Version: o.Version, TTL: cfg.Consul.ServiceTTL},
		},
		lead: &lead{
			log: o.Log.Named("leader"), node: cfg.Node, store: st, view: v, hub: h, problems: probs,
			rules: rules(cfg), keep: keep(cfg), keepFor: keepFor(cfg), maxShare: cfg.Reload.MaxShare, wake: leadWake,
			tidy:    &tidy{log: o.Log.Named("leader"), store: st},
			issue:   &issue{log: o.Log.Named("issue"), store: st, problems: probs, rules: obtain, notices: tell, attempted: m.Attempted, now: time.Now, processors: o.Processors},
			notices: tell, archives: kept,
			resealing: &resealing{log: o.Log.Named("keyring"), store: st, view: v, problems: probs, archives: kept, processors: o.Processors},
		},
	}
	a.lead.issue.journaled, a.lead.seen.lags, kept.told = kept.changed, kept.lags, v.archived
	a.lead.issue.seen = &a.lead.seen
	a.lead.waves = newWaves(cfg, o.Log.Named("waves"), st, probs, &a.lead.seen)
	a.follower.reloaded, a.follower.splayed = m.Reloaded, m.Splayed
	a.follower.slots = &slots{
		log: o.Log.Named("slots"), store: st, node: cfg.Node, ttl: slotTTL, patience: cfg.Reload.SlotWait, blind: slotBlind,
		problems: probs, awaited: m.SlotAwaited,
	}
	m.Show(a.facts)
	a.pages = web.New(dashboard{&Console{cfg: cfg, store: st}, v, &a.certs.known})
	a.follower.answered = newWake()
	a.answers = newAnswers(a, probs)
	a.lead.issue.past = func() past { return past{a.answers.known(), v.followed()} }
	a.wire(probs)
	if a.handout, err = handoutOf(cfg, st, probs, o.Log.Named("keyring")); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// wire has the parts that serve certificates and sites tell each other what has
// changed.
func (a *Agent) wire(probs *problems) {
	serving := &tlsServing{
		log: a.log.Named("certs"), cfg: a.cfg.Certificates, renderer: a.renderer, view: a.view, challenges: a.answers.challenges,
		served: &a.certs.served, reload: a.follower.asked.ask,
	}
	a.gateway = &gateway{log: a.log.Named("gateway"), renderer: a.renderer, served: &a.certs.served, known: &a.certs.known}
	if a.cfg.Certificates.Mode == config.CertOnDemand {
		a.certs.demand = newDemand(a.certs, int64(a.cfg.Certificates.OnDemandMiB)<<20, a.log.Named("gateway"))
		a.gateway.demand = a.certs.demand
	}
	a.certs.proof = &certProver{
		log: a.log.Named("certs"), renderer: a.renderer, prober: &probe.Prober{}, served: &a.certs.served,
		wake: newWake(), told: newWake(), found: map[string]finding{}, later: map[string]time.Time{},
	}
	a.certs.issuers = &certVerifier{log: a.log.Named("certs"), renderer: a.renderer, served: &a.certs.served, wake: newWake(), told: newWake()}
	a.follower.recovered = make(chan struct{})
	a.sites = newSiteFollower(a, probs, serving)
	a.follower.refused, a.follower.sites = a.certs.refused.put, a.sites.wanted
	a.follower.released = func(began time.Time) {
		a.certs.proof.release(began)
		a.sites.again.give()
	}
	a.certs.begin = a.follower.recovered
	a.guard = newGuard(a, probs)
	a.manager = newServiceManager(a)
	a.certs.loaded, a.certs.changed = func() { serving.compare(); close(a.guard.begin); close(a.sites.begin) }, func(ctx context.Context, c handlers.CertChange) certUse {
		defer a.sites.again.give()
		return serving.changed(ctx, c)
	}
	a.follower.tls, a.follower.challenges, a.follower.asked.wake = serving.servers, a.answers.challenges, newWake()
}

// Close releases the node's folders and the archives.
func (a *Agent) Close() error {
	a.lead.archives.close()
	return a.renderer.Close()
}

// FollowCertificates is the part of Run that keeps the files of certificates on
// the fleet's inventory, without the others: nothing is reported, and nginx is
// not touched. An agent runs either of them, once.
func (a *Agent) FollowCertificates(ctx context.Context) error {
	close(a.follower.recovered)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.certs.Run(ctx) })
	g.Go(func() error { return a.certs.issuers.Run(ctx) })
	return g.Wait()
}

// Run runs every part until ctx ends or one of them breaks, and returns why.
func (a *Agent) Run(ctx context.Context) error {
	a.resealCopies()
	var g run.Group
	add := func(name string, part func(ctx context.Context) error) {
		partCtx, cancel := context.WithCancel(ctx)
		g.Add(func() error {
			err := part(partCtx)
			if err == nil || partCtx.Err() != nil && errors.Is(err, partCtx.Err()) {
				return nil // that it was told to end is no reason for the agent to
			}
			return fmt.Errorf("%s: %w", name, err)
		}, func(error) { cancel() })
	}
	add("follow the ring", a.follower.Run)
	add("follow the certificates", a.certs.Run)
	add("follow the sites", a.sites.Run)
	add("look at sites", a.sites.proof.Run)
	add("follow the answer to challenges", a.answers.Run)
	add("guard the folders", a.guard.Run)
	add("look at certificates", a.certs.proof.Run)
	add("verify certificates", a.certs.issuers.Run)
	add("register in consul", a.presence.Register)
	add("report to consul", a.presence.Report)
	add("tell the service manager", a.manager.Run)
	domains := domainsAPI{&Console{cfg: a.cfg, store: a.store}}
	add("serve the socket", func(ctx context.Context) error {
		return status.Serve(ctx, a.cfg.Socket, a.cfg.SocketGroup, a.view, a.hub, a.gateway, domains)
	})
	if c := a.cfg.ACME; c.DomainsSocket != "" {
		add("serve the domains", func(ctx context.Context) error {
			return status.ServeDomains(ctx, c.DomainsSocket, c.DomainsGroup, domains)
		})
	}
	if a.cfg.ACME.HTTP01 == config.HTTP01Agent {
		add("answer challenges", func(ctx context.Context) error {
			return status.ServeChallenges(ctx, a.cfg.ACME.ChallengeAddress, readThrough{a.log.Named("answer"), a.store})
		})
	}
	if a.cfg.Certificates.GatewaySocket != "" {
		add("serve the gateway", func(ctx context.Context) error { return a.gateway.serve(ctx, a.cfg.Certificates) })
	}
	if a.cfg.Ticket.ResumeEvery > 0 {
		add("resume at other nodes", (&resumption{
			log: a.log.Named("resume"), node: a.cfg.Node, store: a.store, renderer: a.renderer, view: a.view, problems: a.view.problems,
			every: a.cfg.Ticket.ResumeEvery, probed: a.metrics.Probed,
		}).Run)
	}
	if a.cfg.HTTP.Address != "" {
		add("serve http", a.serveHTTP)
		add("tell the dashboard", a.pages.Run)
	}
	if a.cfg.Ticket.WatchEvents {
		add("watch events", func(ctx context.Context) error {
			return a.store.WatchEvents(ctx, handlers.EventNames(), a.hub.observe)
		})
	} else {
		add("remember old events", a.rememberOld)
	}
	if a.cfg.Leader.Eligible {
		add("tell receivers", a.tellReceivers)
		add("campaign", func(ctx context.Context) error {
			return leader.Run(ctx, leader.Config{
				Client: a.store.Client(), Key: a.store.LeaderKey(), Node: a.cfg.Node,
				TTL: a.cfg.Leader.TTL, Log: a.log.Named("leader"),
			}, a.lead.Run)
		})
	}
	if a.handout != nil {
		add("follow the keyring", a.handout.Run)
	}
	a.log.Info("agent started", "fleet", a.cfg.Fleet, "node", a.cfg.Node)
	err := g.Run()
	a.log.Info("agent stopped", "fleet", a.cfg.Fleet, "node", a.cfg.Node, "err", err)
	return err
}

// tellReceivers delivers what is to be told until ctx ends.
func (a *Agent) tellReceivers(ctx context.Context) error {
	if err := a.notifier.Run(ctx); err != nil {
		return err
	}
	<-ctx.Done() // there may be no receivers
	return nil
}

// rememberOld looks at the events that Consul has buffered, so that what watch
// handlers bring of them is not taken for new.
func (a *Agent) rememberOld(ctx context.Context) error {
	if events, ok := a.store.AwaitEvents(ctx); ok {
		a.hub.baseline(events)
	}
	<-ctx.Done()
	return nil
}

// openAgentStore is openStore for an agent, which may lead.
func openAgentStore(cfg config.Config, log hclog.Logger) (*store.Store, error) {
	if !cfg.Leader.Eligible || cfg.Leader.KeyringFile == "" {
		return openStore(cfg, log)
	}
	leaders, err := seal.Load(cfg.Leader.KeyringFile)
	if err != nil {
		return nil, fmt.Errorf("leader.keyring_file: %w", err)
	}
	ring, err := loadKeyring(cfg)
	if err != nil {
		return nil, err
	}
	return storeWith(cfg, ring, leaders, log)
}

// openStore opens the store without what only leaders can read.
func openStore(cfg config.Config, log hclog.Logger) (*store.Store, error) {
	ring, err := loadKeyring(cfg)
	if err != nil {
		return nil, err
	}
	return storeWith(cfg, ring, nil, log)
}

// openClosed opens the store for what is not sealed: it opens no record.
func openClosed(cfg config.Config, log hclog.Logger) (*store.Store, error) {
	ring, err := seal.Generate(rand.Reader)
	if err != nil {
		return nil, err
	}
	return storeWith(cfg, ring, nil, log)
}

// storeWith opens the store with the fleet's keyring and, if there is one, the
// leaders'.
func storeWith(cfg config.Config, ring, leaders *seal.Keyring, log hclog.Logger) (*store.Store, error) {
	c := cfg.Consul
	return store.Open(store.Config{
		Address: c.Address, Scheme: c.Scheme, Token: string(c.Token.Reveal()), TokenFile: c.TokenFile,
		Datacenter: c.Datacenter, Namespace: c.Namespace, Partition: c.Partition,
		CAFile: c.CAFile, CAPath: c.CAPath, CertFile: c.CertFile, KeyFile: c.KeyFile,
		ServerName: c.ServerName, TLSSkipVerify: c.TLSSkipVerify,
		Fleet: cfg.Fleet, Leaders: leaders, Log: log.Named("store"),
	}, ring)
}

func openRenderer(cfg config.Config, o Options) (*renderer.Renderer, error) {
	return renderer.New(rendererConfig(cfg, o), &probe.Prober{})
}

func rendererConfig(cfg config.Config, o Options) renderer.Config {
	return renderer.Config{
		Binary: cfg.Nginx.Binary, ConfigFile: cfg.Nginx.ConfigFile, PIDFile: cfg.Nginx.PIDFile, Prefix: cfg.Nginx.Prefix,
		StateDir: cfg.StateDir, RunDir: cfg.RunDir, AllowPersistentKeys: cfg.AllowPersistentKeys,
		DefaultServers: cfg.Nginx.DefaultServers, ReleaseAddress: cfg.Nginx.ReleaseAddress,
		SessionTimeout: cfg.Ticket.SessionTimeout, VerifyTimeout: cfg.Nginx.VerifyTimeout,
		OldWorkerLimit: cfg.Nginx.OldWorkerLimit, WorkerGroup: cfg.Certificates.WorkerGroup, Log: o.Log.Named("renderer"), OnStep: o.OnStep,
	}
}

func rules(cfg config.Config) handlers.Rules {
	return handlers.Rules{
		RotateEvery: cfg.Ticket.RotateEvery, Deadline: cfg.Ticket.Deadline,
		Proceed: cfg.Ticket.Policy == config.PolicyProceed,
	}
}

func keep(cfg config.Config) int {
	return ticket.Keep(cfg.Ticket.SessionTimeout, cfg.Ticket.ApplyLag, cfg.Ticket.RotateEvery)
}

// keepFor is how long a ticket may come after its key was retired.
func keepFor(cfg config.Config) time.Duration { return cfg.Ticket.SessionTimeout + cfg.Ticket.ApplyLag }

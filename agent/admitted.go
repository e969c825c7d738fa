package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/seal"
)

// Errors of a node that gets its keyring from Consul.
var (
	errNotAdmitted = errors.New("this node has no keyring yet, it was not admitted to the fleet")
	errKept        = errors.New("the keyring that this node has got from Consul is damaged")
)

// loadKeyring reads the fleet's keyring on this host.
func loadKeyring(cfg config.Config) (*seal.Keyring, error) {
	ring, err := seal.Load(cfg.KeyringFile)
	if cfg.Keyring.From != config.KeyringConsul {
		return ring, err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s is not there", errNotAdmitted, cfg.KeyringFile)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errKept, err)
	}
	return ring, nil
}

// awaitKeyring waits until a node has a keyring that takes it from Consul, because
// nothing else of an agent can run without. It returns the configuration as it is
// then, which may have changed meanwhile, and false if ctx has ended before.
func awaitKeyring(ctx context.Context, path string, cfg config.Config, reload <-chan struct{}, o Options) (config.Config, bool, error) {
	here := func() bool { // what else is wrong with it the start says
		_, err := loadKeyring(cfg)
		return !errors.Is(err, errNotAdmitted)
	}
	if here() {
		return cfg, true, nil
	}
	watchCtx, stop := context.WithCancel(ctx)
	changed, watched := setup{cfg: cfg, log: o.Log}.watch(watchCtx, path)
	defer watched()
	defer stop()
	for {
		secrets := secretsOf(cfg)
		same := func() bool { // what is refused is looked at below
			fresh, err := config.Load(path)
			return err == nil && reflect.DeepEqual(fresh, cfg) && secretsOf(fresh) == secrets
		}
		admitted, err := awaitAdmission(ctx, cfg, same, changed, reload, o)
		if admitted || err != nil || ctx.Err() != nil {
			return cfg, admitted, err
		}
		fresh, err := config.Load(path)
		if err != nil {
			o.Log.Error("configuration refused, keeping the old one", "file", path, "err", err)
			continue
		}
		if cfg = fresh; o.NewLog != nil {
			o.Log = o.NewLog(cfg.Log)
		}
		if here() {
			return cfg, true, nil
		}
	}
}

// awaitAdmission waits with one configuration: until there is a keyring, or the
// configuration is not the same any more.
func awaitAdmission(ctx context.Context, cfg config.Config, same func() bool, changed wake, reload <-chan struct{}, o Options) (bool, error) {
	st, err := openClosed(cfg, o.Log)
	if err != nil {
		return false, err
	}
	h, err := newHandout(cfg, st, o.Log.Named("keyring"))
	if err != nil {
		return false, err
	}
	ctx, stop := context.WithCancel(ctx)
	got := newWake()
	h.got = got.give
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	tellServiceManager(o.Log, daemon.SdNotifyReady, "STATUS=waiting to be admitted: tlsfleet node admit "+cfg.Node+" "+h.identity.Recipient())
	alive, quiet := aliveTicks(o.Log)
	defer quiet()
	for {
		select {
		case <-alive:
			tellServiceManager(o.Log, daemon.SdNotifyWatchdog)
			continue
		case <-got:
			stop()
			return true, <-ended
		case <-changed:
			if same() {
				continue
			}
		case <-reload:
		case err := <-ended:
			stop()
			return false, err
		}
		stop()
		return false, <-ended
	}
}

// aliveTicks says when the service manager has to be told that the agent lives.
func aliveTicks(log hclog.Logger) (<-chan time.Time, func()) {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("watchdog not used", "err", err)
	}
	if watchdog <= 0 {
		return nil, func() {}
	}
	tick := time.NewTicker(watchdog / 3)
	return tick.C, tick.Stop
}

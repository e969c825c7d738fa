package agent

import (
	"context"
	"errors"
	"reflect"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/status"
)

// Supervise runs an agent from the configuration file until ctx ends. When
// the file changes, or reload is given, it reads the file again: a sound
// change takes effect by starting the agent's loops anew inside the process,
// which touches neither nginx nor the registration; an unsound one is logged
// and the agent goes on as it is.
func Supervise(ctx context.Context, path string, cfg config.Config, reload <-chan struct{}, o Options) error {
	changed := newWake()
	changed.give() // the file may have changed since cfg was read from it
	watching := make(chan error, 1)
	watchCtx, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	go func() { watching <- config.Watch(watchCtx, path, changed.give) }()
	for {
		a, err := New(cfg, o)
		if err != nil {
			return err
		}
		next, err := runUntilChanged(ctx, a, path, cfg, signals{changed, reload, watching}, o)
		if err != nil || next == nil {
			return err
		}
		if err := trial(*next, o); err != nil {
			o.Log.Error("configuration not usable, keeping the old one", "file", path, "err", err)
			continue
		}
		cfg = *next
		if o.NewLog != nil {
			o.Log = o.NewLog(cfg.Log)
		}
		o.Log.Info("configuration changed", "file", path)
	}
}

// trial checks what only a start can: keyring, folders, socket.
func trial(cfg config.Config, o Options) error {
	a, err := New(cfg, o)
	if err != nil {
		return err
	}
	err = status.Check(cfg.Socket, cfg.SocketGroup)
	if c := cfg.Certificates; c.GatewaySocket != "" {
		err = errors.Join(err, status.Check(c.GatewaySocket, c.GatewayGroup))
	}
	return errors.Join(err, a.Close())
}

type signals struct {
	changed  <-chan struct{}
	reload   <-chan struct{}
	watching <-chan error
}

// runUntilChanged runs the agent and returns the new configuration when there
// is one, or nil when ctx has ended.
func runUntilChanged(ctx context.Context, a *Agent, path string, cfg config.Config, s signals, o Options) (next *config.Config, err error) {
	runCtx, stop := context.WithCancel(ctx)
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- a.Run(runCtx) }()
	halt := func(cause error) error {
		stop()
		return errors.Join(cause, <-ran, a.Close())
	}
	for {
		asked := false // by a person: keyring and token file may have changed
		select {
		case err := <-ran:
			return nil, errors.Join(err, a.Close())
		case err := <-s.watching:
			if ctx.Err() != nil {
				return nil, halt(nil)
			}
			o.Log.Error("configuration file not watched any more, SIGHUP still reads it", "file", path, "err", err)
			s.watching = nil
			continue
		case <-s.changed:
		case <-s.reload:
			asked = true
		}
		fresh, err := config.Load(path)
		switch {
		case err != nil:
			o.Log.Error("configuration refused, keeping the old one", "file", path, "err", err)
		case reflect.DeepEqual(fresh, cfg) && !asked:
			o.Log.Debug("configuration read again, nothing changed", "file", path)
		default:
			return &fresh, halt(nil)
		}
	}
}

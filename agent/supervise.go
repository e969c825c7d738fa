package agent

import (
	"context"
	"errors"
	"reflect"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/status"
)

// Supervise runs an agent from the configuration file until ctx ends. When
// the file, the keyring or the token file changes, or reload is given, it reads
// them again: a sound change takes effect by starting the agent's loops anew
// inside the process, which touches neither nginx nor the registration; an
// unsound one is logged and the agent goes on as it is, with the keyring and
// token that it has.
func Supervise(ctx context.Context, path string, cfg config.Config, reload <-chan struct{}, o Options) error {
	cfg, admitted, err := awaitKeyring(ctx, path, cfg, reload, o)
	if err != nil || !admitted {
		return err
	}
	s, err := prepare(cfg, o)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { tellServiceManager(o.Log, daemon.SdNotifyStopping) })()
	for {
		a, err := s.agent(o)
		if err != nil {
			return err
		}
		next, err := runUntilChanged(ctx, a, path, s, reload, o)
		if err != nil || next == nil {
			return err
		}
		if err := next.trial(o); err != nil {
			s.log.Error("configuration not usable, keeping the old one", "file", path, "err", err)
			continue
		}
		s = *next
		s.log.Info("configuration changed", "file", path)
	}
}

// trial checks what only a start can: folders, socket.
func (s setup) trial(o Options) error {
	a, err := s.agent(o)
	if err != nil {
		return err
	}
	err = status.Check(s.cfg.Socket, s.cfg.SocketGroup)
	if c := s.cfg.ACME; c.DomainsSocket != "" {
		err = errors.Join(err, status.Check(c.DomainsSocket, c.DomainsGroup))
	}
	return errors.Join(err, a.Close())
}

// runUntilChanged runs the agent and returns the new setup when there is one,
// or nil when ctx has ended.
func runUntilChanged(ctx context.Context, a *Agent, path string, s setup, reload <-chan struct{}, o Options) (next *setup, err error) {
	runCtx, stop := context.WithCancel(ctx)
	defer stop()
	changed, watched := s.watch(runCtx, path)
	ran := make(chan error, 1)
	go func() { ran <- a.Run(runCtx) }()
	halt := func() error {
		stop()
		watched()
		return errors.Join(<-ran, a.Close())
	}
	for asked := false; ; {
		if asked { // and what came of it is: no change
			tellServiceManager(s.log, daemon.SdNotifyReady)
		}
		asked = false // by a person: other files that are named may have changed
		select {
		case err := <-ran:
			stop()
			watched()
			return nil, errors.Join(err, a.Close())
		case <-changed:
		case <-reload:
			asked = true
			tellReloading(s.log)
		}
		fresh, err := config.Load(path)
		if err != nil {
			s.log.Error("configuration refused, keeping the old one", "file", path, "err", err)
			continue
		}
		if !asked && reflect.DeepEqual(fresh, s.cfg) && secretsOf(fresh) == s.secrets {
			s.log.Debug("configuration read again, nothing changed", "file", path)
			continue
		}
		if o.NewLog != nil {
			o.Log = o.NewLog(fresh.Log)
		}
		to, err := prepare(fresh, o)
		if err != nil {
			s.log.Error("configuration not usable, keeping the old one", "file", path, "err", err)
			continue
		}
		return &to, halt()
	}
}

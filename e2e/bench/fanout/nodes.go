package main

import (
	"context"
	"crypto/ecdsa"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

const fleetName = "fanout"

// source writes certificates into Consul.
type source struct {
	keyring string
	store   *store.Store
	ca      *lab.Authority
	key     *ecdsa.PrivateKey
}

func newSource(p *lab.Program, consul string) (*source, error) {
	s := &source{keyring: filepath.Join(p.TempDir(), "keyring")}
	ring, err := seal.Create(s.keyring)
	if err != nil {
		return nil, err
	}
	if s.store, err = store.Open(store.Config{Address: consul, Fleet: fleetName}, ring); err != nil {
		return nil, err
	}
	if s.ca, err = lab.NewAuthority(); err != nil {
		return nil, err
	}
	s.key, err = lab.NewKey()
	return s, err
}

// change writes a new certificate for a name.
func (s *source) change(ctx context.Context, name string) (fleet.Hash, error) {
	notAfter := time.Now().AddDate(0, 0, 90).UTC().Truncate(time.Second)
	c, err := s.ca.Issue(s.key, notAfter, name)
	if err != nil {
		return fleet.Hash{}, err
	}
	b, err := bundleOf(c)
	if err != nil {
		return fleet.Hash{}, err
	}
	_, err = s.store.EditInventory(ctx, store.Edit{Now: time.Now(), Put: []store.Certificate{{
		Bundle: b, Names: []string{name}, Entry: fleet.Entry{NotAfter: notAfter, Source: fleet.SourceACME},
	}}}, "", nil)
	return bundle.Hash(b), err
}

// blocks are the contents of all PEM blocks of a text.
func blocks(text []byte) [][]byte {
	var all [][]byte
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		all = append(all, b.Bytes)
	}
	return all
}

// folder is where the nodes keep their state.
func (o options) folder(p *lab.Program, memory string) (string, error) {
	if o.dir == "" {
		return filepath.Join(memory, "state"), nil
	}
	root, err := os.MkdirTemp(o.dir, "tlsfleet-")
	if err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	p.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			p.Logf("remove folder: %v", err)
		}
	})
	return root, nil
}

// startNodes starts the agents; they end with p.
func startNodes(ctx context.Context, p *lab.Program, o options, consul string, s *source) (*nodes, error) {
	nginx := testkit.NewNginx(p, testkit.NginxOptions{})
	run := testkit.TmpfsDir(p)
	root, err := o.folder(p, run)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	p.Cleanup(func() {
		stop()
		running.Wait()
	})
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch nodes: %w", err)
	}
	p.Cleanup(func() {
		if err := watcher.Close(); err != nil {
			p.Logf("end watch: %v", err)
		}
	})
	all := &nodes{watcher: watcher}
	for i := range o.watchers {
		node := fmt.Sprintf("node%d", i)
		cfg := config.Default()
		cfg.Fleet, cfg.Node, cfg.KeyringFile = fleetName, node, s.keyring
		cfg.StateDir, cfg.RunDir = filepath.Join(root, node), filepath.Join(run, node)
		cfg.Consul.Address = consul
		cfg.Nginx.Binary, cfg.Nginx.ConfigFile, cfg.Nginx.PIDFile = nginx.Binary, nginx.ConfigFile, nginx.PIDFile
		a, err := agent.New(cfg, agent.Options{Log: hclog.NewNullLogger()})
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", node, err)
		}
		running.Go(func() {
			if err := errors.Join(a.FollowCertificates(ctx), a.Close()); err != nil {
				p.Logf("%s: %v", node, err)
			}
		})
		live := filepath.Join(cfg.StateDir, "live")
		if err := watcher.Add(live); err != nil {
			return nil, fmt.Errorf("watch %s: %w", node, err)
		}
		all.live = append(all.live, live)
	}
	return all, nil
}

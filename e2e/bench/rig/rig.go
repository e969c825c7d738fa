// Package rig is an nginx with the renderer that looks after it, and nothing
// else of a node: what benchmarks of nginx itself are made with.
package rig

import (
	"context"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/probe"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// proveLimit bounds the proof of a release; 10,000 static servers take nginx
// half a minute to load.
const proveLimit = 3 * time.Minute

// Rig is a running nginx with one worker.
type Rig struct {
	*renderer.Renderer
	Node *lab.Node
	Addr string // where the servers under test listen
	Live string // the folder with an entry for each name

	epoch uint64
}

// New starts an nginx. http makes what its configuration has at http level
// beside the releases, from the address under test and the live folder; it may
// be nil. All ends with p.
func New(p *lab.Program, http func(addr, live string) string) (*Rig, error) {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(testkit.FreePort(p, "127.0.0.1")))
	state := filepath.Join(p.TempDir(), "state")
	r := &Rig{Addr: addr, Live: filepath.Join(state, "live")}
	o := testkit.NginxOptions{StateDir: state}
	if http != nil {
		o.HTTP = http(addr, r.Live)
	}
	n := testkit.NewNginx(p, o)
	r.Node = &lab.Node{Name: "rig", Nginx: n}
	var err error
	r.Renderer, err = renderer.New(renderer.Config{
		Binary: n.Binary, ConfigFile: n.ConfigFile, PIDFile: n.PIDFile, StateDir: state, RunDir: testkit.TmpfsDir(p),
		ReleaseAddress: net.JoinHostPort("127.0.0.1", strconv.Itoa(testkit.FreePort(p, "127.0.0.1"))),
		SessionTimeout: time.Hour, VerifyTimeout: proveLimit, Log: hclog.NewNullLogger(),
	}, &probe.Prober{})
	if err != nil {
		return nil, err
	}
	p.Cleanup(func() {
		if err := r.Close(); err != nil {
			p.Logf("close renderer: %v", err)
		}
	})
	n.Start(p)
	return r, nil
}

// Store writes a new certificate for each name and returns their hashes.
func (r *Rig) Store(p *lab.Program, names []string) (map[string]fleet.Hash, error) {
	hashes := make(map[string]fleet.Hash, len(names))
	bundles := make(map[fleet.Hash]bundle.Bundle, len(names))
	for _, name := range names {
		certPEM, keyPEM := testkit.SelfSigned(p, name)
		cert, _ := pem.Decode(certPEM)
		key, _ := pem.Decode(keyPEM)
		b := bundle.Bundle{Leaf: cert.Bytes, Key: fleet.NewSecret(key.Bytes)}
		hashes[name] = bundle.Hash(b)
		bundles[hashes[name]] = b
	}
	return hashes, errors.Join(slices.Collect(maps.Values(r.PutBundles(bundles)))...)
}

// Serve applies a release with the servers and returns how long that took.
func (r *Rig) Serve(ctx context.Context, s renderer.TLSServers) (time.Duration, error) {
	now := time.Now().UTC()
	var keys []fleet.TicketKey
	for range 2 {
		k, err := ticket.NewKey(rand.Reader, now)
		if err != nil {
			return 0, err
		}
		keys = append(keys, k)
	}
	ring, err := ticket.Create(ticket.Change{Now: now, By: "bench", Cause: fleet.CauseCreated, Fresh: keys, Keep: 1, MinEpoch: r.epoch})
	if err != nil {
		return 0, err
	}
	r.epoch = ring.Epoch
	s.Listen = []string{r.Addr + " ssl"}
	o, err := r.Apply(ctx, renderer.Release{Mode: fleet.ModeRing, Ring: ring, Sealed: []byte("bench"), TLS: s, Reason: "bench"})
	if err == nil && (o.Reload.Result != fleet.ReloadOK || !o.Proved) {
		err = errors.New(o.Reload.Err)
	}
	if err != nil {
		return 0, fmt.Errorf("serve %d names in mode %s: %w", len(s.List), s.Mode, err)
	}
	return o.Reload.Took, nil
}

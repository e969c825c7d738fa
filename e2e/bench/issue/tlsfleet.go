package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

const (
	obtainLimit = 10 * time.Minute
	look        = 2 * time.Millisecond
)

// obtainedLine is what an agent logs when a certificate is in Consul.
var obtainedLine = regexp.MustCompile(`certificate obtained: .*\btook=(\S+)`)

// fleetOf is running agents, each with its nginx, which obtain from the scene's
// CA.
type fleetOf struct {
	*lab.Fleet
	*lab.Agents
	store *store.Store
}

// fleet starts so many agents and waits until each answers challenges.
func (s *scene) fleet(ctx context.Context, size int, ttl time.Duration) (*fleetOf, error) {
	consul := testkit.Consul(s.p, testkit.ConsulDev())
	f := &fleetOf{Fleet: lab.NewFleet(s.p, size)}
	for _, n := range f.Nodes {
		n.Nginx.Start(s.p)
	}
	s.ca.SetDefaultAddress(s.p, f.Nodes[0].Nginx.Address) //nolint:contextcheck // a kit's call, bounded
	var err error
	if f.Agents, err = f.StartAgents(ctx, s.p, lab.AgentOptions{
		Binary: s.o.tlsfleet, Consul: consul.Addr, Splay: time.Second, MinInterval: time.Second, Certificates: true, LeaderTTL: ttl,
		CA: &lab.CA{
			Directory: s.ca.Directory, RootFile: s.ca.RootFile, HTTPPort: s.ca.HTTPPort, Resolver: s.ca.DNS,
			Unlimited: true, Parallel: s.parallel,
		},
	}); err != nil {
		return nil, err
	}
	keyring, err := seal.Load(f.Keyring)
	if err != nil {
		return nil, err
	}
	if f.store, err = store.Open(store.Config{Address: consul.Addr, Fleet: lab.FleetName}, keyring); err != nil {
		return nil, err
	}
	return f, f.AwaitChallenges(ctx, s.ca.HTTPPort)
}

// tlsfleetObtains adds all names at once to a fleet of one node.
func tlsfleetObtains(ctx context.Context, s *scene) error {
	f, err := s.fleet(ctx, 1, 0)
	if err != nil {
		return err
	}
	end, err := s.begin(f.Procs[0].PID())
	if err != nil {
		return err
	}
	if err := f.AddDomains(ctx, s.names); err != nil {
		return err
	}
	var log []byte
	if err := lab.Until(ctx, obtainLimit, look, func() (err error) {
		if err := f.Procs[0].Ended(); err != nil {
			return err
		}
		if log, err = os.ReadFile(f.Procs[0].LogFile); err != nil {
			return err
		}
		if n := bytes.Count(log, []byte("certificate obtained: ")); n < len(s.names) {
			return fmt.Errorf("%d of %d certificates are obtained", n, len(s.names))
		}
		return nil
	}); err != nil {
		return err
	}
	if err := errors.Join(f.inConsul(ctx, s.names), end()); err != nil {
		return err
	}
	for _, m := range obtainedLine.FindAllSubmatch(log, -1) {
		took, err := time.ParseDuration(string(m[1]))
		if err != nil {
			return fmt.Errorf("read log of tlsfleet: %w", err)
		}
		s.record(took)
	}
	return nil
}

// inConsul is nil if every name has a certificate by ACME in the inventory.
func (f *fleetOf) inConsul(ctx context.Context, names []string) error {
	issued := 0
	var ids []string
	for _, name := range names {
		ids = append(ids, issuance.ID([]string{name}))
	}
	if _, err := f.store.ItemsOf(ctx, ids, func(it issuance.Item) {
		if it.State == issuance.Issued && it.Cert != nil {
			issued++
		}
	}); err != nil {
		return err
	}
	var numbers []int
	for _, name := range names {
		numbers = append(numbers, inventory.ShardOf(name))
	}
	slices.Sort(numbers)
	shards, bad, err := f.store.Shards(ctx, slices.Compact(numbers))
	if err != nil || len(bad) > 0 {
		return errors.Join(err, fmt.Errorf("%d shards are bad", len(bad)))
	}
	served := 0
	for _, rec := range shards {
		for _, name := range names {
			if e, ok := rec.Shard.Lookup(name); ok && !e.Removed && e.Source == fleet.SourceACME {
				served++
			}
		}
	}
	if issued != len(names) || served != len(names) {
		return fmt.Errorf("%d of %d certificates are in the journal, %d in the inventory", issued, len(names), served)
	}
	return nil
}

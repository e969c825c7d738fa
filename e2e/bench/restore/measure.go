package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

const (
	nodes = 3
	look  = 100 * time.Millisecond
)

// scene is a fleet with certificates.
type scene struct {
	*lab.Fleet
	*lab.Agents
	o      options
	ca     *testkit.PebbleServer
	consul *testkit.ConsulServer
}

// measure makes a fleet, backs it up, deletes it and brings it back.
func measure(ctx context.Context, p *lab.Program, o options) (figure, error) {
	f := figure{nodes: nodes, names: o.names}
	s, err := newScene(ctx, p, o)
	if err == nil {
		err = s.fill(ctx, p)
	}
	if err != nil {
		return f, err
	}
	file := filepath.Join(p.TempDir(), "fleet.backup")
	began := time.Now()
	if _, err := lab.Run(ctx, nil, s.Binary, "backup", "--config", s.Configs[0], file); err != nil {
		return f, err
	}
	f.backingUp = time.Since(began)
	info, err := os.Stat(file)
	if err != nil {
		return f, err
	}
	f.backup = info.Size()
	orders := s.ca.Counts(p).Orders
	if err := s.lose(ctx, p); err != nil {
		return f, err
	}
	began = time.Now()
	if _, err := lab.Run(ctx, nil, s.Binary, "restore-fleet", "--yes", "--config", s.Configs[0], file); err != nil {
		return f, err
	}
	f.writing = time.Since(began)
	if err := s.have(ctx, o.names); err != nil {
		return f, err
	}
	f.all = time.Since(began)
	asked, err := s.askAgain(ctx)
	f.orders = s.ca.Counts(p).Orders - orders - asked
	return f, err
}

func newScene(ctx context.Context, p *lab.Program, o options) (*scene, error) {
	s := &scene{Fleet: lab.NewFleet(p, nodes), o: o, consul: testkit.Consul(p, testkit.ConsulDev())}
	s.ca = testkit.Pebble(p, testkit.PebbleOptions{HTTPPort: testkit.FreePort(p, "127.0.0.1")})
	for _, n := range s.Nodes {
		n.Nginx.Start(p)
	}
	s.ca.SetDefaultAddress(p, s.Nodes[0].Nginx.Address) //nolint:contextcheck // a kit's call, bounded
	var err error
	s.Agents, err = s.StartAgents(ctx, p, lab.AgentOptions{
		Binary: o.tlsfleet, Consul: s.consul.Addr, Splay: time.Second, MinInterval: time.Second, Certificates: true,
		CA: &lab.CA{Directory: s.ca.Directory, RootFile: s.ca.RootFile, HTTPPort: s.ca.HTTPPort, Resolver: s.ca.DNS, Unlimited: true},
	})
	if err != nil {
		return nil, err
	}
	return s, s.AwaitChallenges(ctx, s.ca.HTTPPort)
}

// fill obtains some certificates, imports the others and waits until all nodes
// have them.
func (s *scene) fill(ctx context.Context, p *lab.Program) error {
	if err := s.AddDomains(ctx, s.domains()); err != nil {
		return err
	}
	authority, err := lab.NewAuthority()
	if err != nil {
		return err
	}
	dir := p.TempDir()
	for i := range s.o.names - s.o.domains {
		key, err := lab.NewKey()
		if err != nil {
			return err
		}
		c, err := authority.Issue(key, time.Now().AddDate(0, 3, 0), fmt.Sprintf("n%d.test", i))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.pem", i)), c.PEM, 0o600); err != nil {
			return err
		}
	}
	if _, err := s.Import(ctx, func(string) {}, dir); err != nil {
		return err
	}
	return s.have(ctx, s.o.names)
}

// domains are the names that are obtained.
func (s *scene) domains() []string {
	list := make([]string, s.o.domains)
	for i := range list {
		list[i] = fmt.Sprintf("d%d.test", i)
	}
	return list
}

// lose takes all from Consul and the nodes but configuration and keyring.
func (s *scene) lose(ctx context.Context, p *lab.Program) error {
	for i, n := range s.Nodes {
		if err := s.Procs[i].Kill(); err != nil {
			return err
		}
		entries, err := os.ReadDir(n.Nginx.StateDir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(n.Nginx.StateDir, e.Name())); err != nil {
				return err
			}
		}
	}
	if _, err := s.consul.Client(p).KV().DeleteTree("tlsfleet/"+lab.FleetName+"/", nil); err != nil {
		return err
	}
	for i := range s.Nodes {
		s.Restart(p, s.Agents, i)
	}
	return lab.Until(ctx, s.o.limit, look, func() error {
		st, err := s.Status(ctx)
		if err == nil && (st.Epoch == 0 || st.Followed(0) != nodes || st.Leader == "") {
			err = fmt.Errorf("the empty fleet is %+v", st)
		}
		return err
	})
}

// have waits until every node has so many names.
func (s *scene) have(ctx context.Context, names int) error {
	return lab.Until(ctx, s.o.limit, look, func() error {
		st, err := s.Status(ctx)
		if err == nil && st.Followed(names) != nodes {
			err = fmt.Errorf("%d of %d nodes have %d names", st.Followed(names), nodes, names)
		}
		return err
	})
}

// askAgain asks for every name once more, as the programs of a fleet do that add
// their names when they start, and then for one that nobody had. When the leader
// has obtained that, it has read the journal that was put back, and has placed the
// orders of what was due by it. It returns how many orders were asked for: one.
func (s *scene) askAgain(ctx context.Context) (orders int, err error) {
	for _, names := range [][]string{s.domains(), {"after.test"}} {
		args := append([]string{"add", "--wait", "--timeout", s.o.limit.String()}, names...)
		if _, err := s.Domain(ctx, args...); err != nil {
			return 0, err
		}
	}
	return 1, nil
}

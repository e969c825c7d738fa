package testkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	loopback    = "127.0.0.1"
	consulReady = time.Minute
	consulStop  = 20 * time.Second
)

// ConsulServer is a Consul server on loopback with a fleet of tests as its
// clients. Its HTTP address and its state stay the same over Stop and Start.
type ConsulServer struct {
	Addr  string   // of the HTTP API: "127.0.0.1:port"
	Token string   // management token; empty without ConsulACL
	Node  string   // name of the server's own node in the catalog
	TLS   TLSFiles // empty without ConsulTLS

	config          *consulConfig
	dir             string
	argv            []string
	http, rpc, serf int
	log             *os.File

	mu   sync.Mutex
	proc *process
}

// Consul starts a Consul server that ends with tb. It returns when a leader
// is elected and the server's node can hold sessions.
func Consul(tb TB, opts ...ConsulOption) *ConsulServer {
	tb.Helper()
	s, err := newConsul(tb.TempDir(), [3]int{FreePort(tb, loopback), FreePort(tb, loopback), FreePort(tb, loopback)}, opts)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	s.run(tb)
	return s
}

var shared = sync.OnceValues(func() (*ConsulServer, error) {
	// Nobody outlives this server but the kernel, which ends it with the
	// process: so that no folder stays behind, it is removed when it is read.
	dir, err := os.MkdirTemp("", "tlsfleet-consul-")
	if err != nil {
		return nil, fmt.Errorf("start shared Consul: %w", err)
	}
	var free [3]int
	for i := range free {
		if free[i], err = takePort(loopback); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	s, err := newConsul(dir, free, []ConsulOption{ConsulDev(), ConsulSessionTTLMin(time.Second)})
	if err == nil {
		err = s.start()
	}
	return s, errors.Join(err, os.RemoveAll(dir))
})

// SharedConsul is one `consul agent -dev` for all tests of the process, ended
// with the process. Tests keep apart by FleetName and neither stop nor freeze
// it. Sessions may have a TTL from 1 s.
func SharedConsul(tb TB) *ConsulServer {
	tb.Helper()
	s, err := shared()
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return s
}

func newConsul(dir string, free [3]int, opts []ConsulOption) (*ConsulServer, error) {
	s := &ConsulServer{dir: dir, http: free[0], rpc: free[1], serf: free[2], config: &consulConfig{merge: map[string]any{}}}
	s.Addr = address(loopback, s.http)
	s.Node = fmt.Sprintf("consul-%d", s.http)
	for _, o := range opts {
		o(s.config)
	}
	s.Token = s.config.token
	return s, s.configure()
}

// Start starts the server again after Stop or Kill, and waits until it is
// ready. A running server is fine.
func (s *ConsulServer) Start(tb TB) {
	tb.Helper()
	if err := s.start(); err != nil {
		tb.Fatalf("%v", err)
	}
}

// Stop ends the server as its service would. Without ConsulDev its state
// stays on disk.
func (s *ConsulServer) Stop(tb TB) {
	s.with(tb, func(p *process) error { return p.stop(syscall.SIGTERM, consulStop) })
}

// Kill ends the server with SIGKILL.
func (s *ConsulServer) Kill(tb TB) { s.with(tb, (*process).kill) }

// Freeze stops the server in place: connections stay open, nothing answers.
func (s *ConsulServer) Freeze(tb TB) {
	tb.Helper()
	s.with(tb, func(p *process) error { return p.signal(syscall.SIGSTOP) })
	// The signal is delivered to one thread after the other.
	Eventually(tb, consulStop, "Consul to be frozen", func() error {
		var err error
		s.with(tb, func(p *process) error { err = p.stopped(); return nil })
		return err
	})
}

// Thaw ends Freeze.
func (s *ConsulServer) Thaw(tb TB) {
	s.with(tb, func(p *process) error { return p.signal(syscall.SIGCONT) })
}

// PID is the server's process; 0 if it does not run.
func (s *ConsulServer) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil || !s.proc.running() {
		return 0
	}
	return s.proc.pid
}

// Log is the end of the server's log.
func (s *ConsulServer) Log() string { return tail(s.log) }

// LogFile is where the agent's whole log is.
func (s *ConsulServer) LogFile() string { return s.log.Name() }

// Client is an API client with the server's own token.
func (s *ConsulServer) Client(tb TB) *api.Client {
	tb.Helper()
	return s.ClientWith(tb, s.Token)
}

// ClientWith is an API client with another token.
func (s *ConsulServer) ClientWith(tb TB, token string) *api.Client {
	tb.Helper()
	c, err := s.client(token)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return c
}

func (s *ConsulServer) client(token string) (*api.Client, error) {
	c, err := api.NewClient(s.clientConfig(token))
	if err != nil {
		return nil, fmt.Errorf("make Consul client for %s: %w", s.Addr, err)
	}
	return c, nil
}

func (s *ConsulServer) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil || !s.proc.running() {
		proc, err := startProcess("consul", s.argv, s.log, syscall.SIGKILL)
		if err != nil {
			return err
		}
		s.proc = proc
	}
	return s.waitReady()
}

// waitReady waits until the server's node can hold a session: that needs a
// leader and the node with its serfHealth check in the catalog.
func (s *ConsulServer) waitReady() error {
	c, err := s.client(s.Token)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), consulReady)
	defer cancel()
	if err := poll(consulReady, func() error {
		if !s.proc.running() {
			return nil // nothing to wait for
		}
		id, _, err := c.Session().Create(&api.SessionEntry{Name: "testkit", TTL: "60s"}, (&api.WriteOptions{}).WithContext(ctx))
		if err != nil {
			return fmt.Errorf("create session: %w", err)
		}
		_, err = c.Session().Destroy(id, (&api.WriteOptions{}).WithContext(ctx))
		return err
	}); err != nil {
		return fmt.Errorf("wait for Consul at %s: %w\n%s", s.Addr, err, tail(s.log))
	}
	if !s.proc.running() {
		return s.proc.ended()
	}
	return nil
}

// with calls do with the running process.
func (s *ConsulServer) with(tb TB, do func(*process) error) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := do(s.proc); err != nil {
		tb.Fatalf("%v", err)
	}
}

func (s *ConsulServer) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.proc != nil {
		err = s.proc.kill()
	}
	return errors.Join(err, s.log.Close())
}

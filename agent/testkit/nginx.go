package testkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	nginxReady = 30 * time.Second
	nginxStop  = 20 * time.Second
	nginxTest  = 30 * time.Second
)

// Nginx is an nginx with a configuration, folders, ports and logs of its own.
// The operator's part of the configuration is ConfigFile; the agent's part is
// included from StateDir.
type Nginx struct {
	Binary     string
	Dir        string // configuration, certificate, logs; also nginx's prefix
	ConfigFile string
	PIDFile    string
	StateDir   string // nginx includes <StateDir>/nginx/current/*.conf
	Address    string // IP address it listens on
	TLSPorts   []int
	TLSAddrs   []string // "address:port" of each TLS port
	Names      []string // server names
	CertPEM    []byte

	ErrorLogFile string

	output *os.File
	mu     sync.Mutex
	proc   *process
}

// NewNginx writes a configuration into a folder of its own, without starting
// anything. Whatever runs of it ends with tb.
func NewNginx(tb TB, o NginxOptions) *Nginx {
	tb.Helper()
	dir := tb.TempDir()
	o = o.withDefaults(dir)
	n := &Nginx{
		Binary: NginxBinary(tb), Dir: dir, Address: o.Address, Names: o.Names, StateDir: o.StateDir,
		ConfigFile:   filepath.Join(dir, "nginx.conf"),
		PIDFile:      filepath.Join(dir, "nginx.pid"),
		ErrorLogFile: filepath.Join(dir, "error.log"),
	}
	for i := range o.Ports {
		port := o.TLSPort
		if i > 0 || port == 0 {
			port = FreePort(tb, o.Address)
		}
		n.TLSPorts = append(n.TLSPorts, port)
		n.TLSAddrs = append(n.TLSAddrs, address(o.Address, port))
	}
	if err := n.write(o); err != nil {
		tb.Fatalf("write nginx configuration: %v", err)
	}
	var err error
	n.output, err = os.OpenFile(filepath.Join(dir, "output.log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		tb.Fatalf("start nginx: %v", err)
	}
	tb.Cleanup(func() { n.cleanUp(tb) })
	return n
}

func (n *Nginx) cleanUp(tb TB) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if failed(tb) {
		tb.Logf("error log of nginx at %s:\n%s", n.TLSAddrs[0], n.ErrorLog())
	}
	var err error
	if n.proc != nil {
		err = n.proc.kill()
	}
	if err := errors.Join(err, n.output.Close()); err != nil {
		tb.Logf("end nginx: %v", err)
	}
}

// Start starts nginx and waits until its pid file names it and every TLS port
// takes connections. A running nginx is fine.
func (n *Nginx) Start(tb TB) {
	tb.Helper()
	if err := n.TryStart(); err != nil {
		tb.Fatalf("%v", err)
	}
}

// TryStart is Start for an nginx that may refuse; the error has its output.
func (n *Nginx) TryStart() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil && n.proc.running() {
		return nil
	}
	// SIGTERM to an orphaned master, because SIGKILL leaves its workers behind.
	proc, err := startProcess("nginx", n.command(), n.output, syscall.SIGTERM)
	if err != nil {
		return err
	}
	n.proc = proc
	err = poll(nginxReady, func() error {
		if !proc.running() {
			return nil // nothing to wait for
		}
		return n.ready()
	})
	if !proc.running() {
		return proc.ended()
	}
	if err != nil {
		return fmt.Errorf("wait for nginx at %s: %w\n%s", n.TLSAddrs[0], err, n.ErrorLog())
	}
	return nil
}

func (n *Nginx) command(more ...string) []string {
	return append([]string{n.Binary, "-p", n.Dir, "-e", n.ErrorLogFile, "-c", n.ConfigFile}, more...)
}

func (n *Nginx) ready() error {
	text, err := os.ReadFile(n.PIDFile)
	if err != nil {
		return err
	}
	if pid := strings.TrimSpace(string(text)); pid != strconv.Itoa(n.proc.pid) {
		return fmt.Errorf("pid file has %q, want %d", pid, n.proc.pid)
	}
	for _, addr := range n.TLSAddrs {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		cancel()
		if err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends nginx as its service does on shutdown (SIGTERM: connections are
// cut). A stopped nginx is fine.
func (n *Nginx) Stop(tb TB) {
	tb.Helper()
	n.end(tb, func(p *process) error { return p.stop(syscall.SIGTERM, nginxStop) })
}

// Kill ends the master and its workers with SIGKILL; the pid file stays.
func (n *Nginx) Kill(tb TB) {
	tb.Helper()
	n.end(tb, (*process).kill)
}

func (n *Nginx) end(tb TB, how func(*process) error) {
	tb.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		return
	}
	if err := how(n.proc); err != nil {
		tb.Fatalf("%v", err)
	}
}

// PID is the master's process id; 0 if nginx does not run.
func (n *Nginx) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil || !n.proc.running() {
		return 0
	}
	return n.proc.pid
}

// Signal sends sig to the master: SIGHUP reloads, SIGSTOP freezes it.
func (n *Nginx) Signal(tb TB, sig syscall.Signal) {
	tb.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		tb.Fatalf("send %s to nginx: not started", sig)
	}
	if err := n.proc.signal(sig); err != nil {
		tb.Fatalf("%v", err)
	}
}

// Test runs nginx -t; the error has what nginx says.
func (n *Nginx) Test(tb TB) error {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), nginxTest)
	defer cancel()
	argv := n.command("-t", "-q")
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("test %s: %w\n%s", n.ConfigFile, err, out)
	}
	return nil
}

// ErrorLog is what nginx has logged so far, at level notice and above.
func (n *Nginx) ErrorLog() string {
	text, err := os.ReadFile(n.ErrorLogFile)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

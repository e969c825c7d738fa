package testkit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestNginxServesTLSOnEachPort(t *testing.T) {
	t.Parallel()
	n := NewNginx(t, NginxOptions{Address: "127.0.0.3", Ports: 2, Names: []string{"b.test", "c.test"}, Answer: "node \"3\"\n", Reject: true})
	n.Start(t)
	for _, addr := range n.TLSAddrs {
		for _, name := range n.Names {
			if got, err := get(t, n, addr, name); err != nil || got != "node \"3\"\n" {
				t.Errorf("GET %s as %s = %q, %v, want node \"3\"", addr, name, got, err)
			}
		}
		if got, err := get(t, n, addr, "other.test"); err == nil {
			t.Errorf("GET %s as other.test = %q, want the handshake rejected", addr, got)
		}
	}
}

func TestNginxIncludesTheReleasesOfTheAgent(t *testing.T) {
	t.Parallel()
	n := NewNginx(t, NginxOptions{})
	if err := n.Test(t); err != nil {
		t.Fatalf("Test() without a release = %v, want nil", err)
	}
	release := filepath.Join(n.StateDir, "nginx", "1")
	if err := os.MkdirAll(release, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(release, "a.conf"), []byte("no_such_directive;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("1", filepath.Join(n.StateDir, "nginx", "current")); err != nil {
		t.Fatal(err)
	}
	if err := n.Test(t); err == nil || !strings.Contains(err.Error(), "no_such_directive") {
		t.Errorf("Test() with a broken release = %v, want one that names the directive", err)
	}
	if err := n.TryStart(); err == nil || !strings.Contains(err.Error(), "no_such_directive") {
		t.Errorf("TryStart() with a broken release = %v, want one that names the directive", err)
	}
}

func TestNginxRunsAgainAfterItsEnd(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*Nginx, TB){
		"stop": (*Nginx).Stop,
		"kill": (*Nginx).Kill,
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := NewNginx(t, NginxOptions{Workers: 2})
			n.Start(t)
			end(n, t)
			if pid := n.PID(); pid != 0 {
				t.Errorf("PID() of an ended nginx = %d, want 0", pid)
			}
			if _, err := get(t, n, n.TLSAddrs[0], "a.test"); err == nil {
				t.Error("GET from an ended nginx = nil error, want one: a worker lives on")
			}
			n.Start(t)
			if got, err := get(t, n, n.TLSAddrs[0], "a.test"); err != nil || got != "ok\n" {
				t.Errorf("GET after Start = %q, %v, want ok", got, err)
			}
		})
	}
}

// TestChildrenEndWithTheirProcess runs itself as a process that starts nginx
// and is killed.
func TestChildrenEndWithTheirProcess(t *testing.T) {
	t.Parallel()
	if file := os.Getenv("TESTKIT_ORPHAN"); file != "" {
		n := NewNginx(t, NginxOptions{})
		n.Start(t)
		if err := os.WriteFile(file, []byte(strconv.Itoa(n.PID())+" "+n.TLSAddrs[0]), 0o600); err != nil {
			t.Fatal(err)
		}
		select {} // until killed
	}
	file := filepath.Join(t.TempDir(), "child")
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChildrenEndWithTheirProcess$")
	parent.Env = append(os.Environ(), "TESTKIT_ORPHAN="+file)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var addr string
	Eventually(t, 50*time.Second, "the child's nginx", func() error {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		_, err = fmt.Sscanf(string(text), "%d %s", &pid, &addr)
		return err
	})
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Fatal("Wait() of a killed process = nil, want an error")
	}
	Eventually(t, 50*time.Second, "the end of nginx and its workers", func() error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) && !zombie(pid) {
			return fmt.Errorf("process %d lives", pid)
		}
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			return errors.Join(fmt.Errorf("%s still listens", addr), conn.Close())
		}
		return nil
	})
}

// zombie reports whether a process has ended and nobody has waited for it.
func zombie(pid int) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	return err == nil && strings.Contains(string(text), "State:\tZ")
}

func get(t *testing.T, n *Nginx, addr, name string) (string, error) {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(n.CertPEM) {
		t.Fatal("read certificate of nginx: none in it")
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+name+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(res.Body)
	return string(body), errors.Join(err, res.Body.Close())
}

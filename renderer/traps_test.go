package renderer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestPairInTheRootOfTheFileSystemIsNotServed: where no bundle is found nginx
// must not open /fullchain.pem and /privkey.pem.
func TestPairInTheRootOfTheFileSystemIsNotServed(t *testing.T) {
	t.Parallel()
	plantInRoot(t)
	for _, names := range []NameMode{NamesOpen, NamesListed} {
		for _, defaults := range []string{"with", "without"} {
			t.Run(fmt.Sprintf("%s %s a default server", names, defaults), func(t *testing.T) {
				t.Parallel()
				g := newTLSRig(t, testkit.NginxOptions{}, func(c *Config) {
					if defaults == "without" {
						c.DefaultServers = nil
					}
				})
				live := g.put(t, "a.test", "gone.test")
				g.serve(t, g.servers(names, "a.test", "gone.test", "never.test"))
				g.shows(t, "a.test", live["a.test"])
				if err := os.RemoveAll(g.cfg.bundleDir(live["gone.test"])); err != nil {
					t.Fatal(err)
				}
				for _, sni := range []string{"", "gone.test", "never.test", "root.test", "unknown.test", "..", "../x",
					"../live/a.test", "./a.test", "/a.test", "a.test/", "a.test/../a.test", "x/../a.test", "../store/" + live["a.test"].String()} {
					g.refuses(t, sni)
				}
				g.shows(t, "a.test", live["a.test"])
			})
		}
	}
}

// planted begins the files of plantInRoot: PEM may have text in front.
const planted = "planted by TestPairInTheRootOfTheFileSystemIsNotServed\n"

// plantInRoot writes a pair to the root of the file system, one process at a
// time. What a test left there that could not clean up is replaced; anybody
// else's file ends the test.
func plantInRoot(t *testing.T) {
	t.Helper()
	root, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil { // and unlock
			t.Error(err)
		}
	})
	testkit.Eventually(t, 5*time.Minute, "the end of other runs of this test", func() error {
		return syscall.Flock(int(root.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	})
	certPEM, keyPEM := testkit.SelfSigned(t, "root.test")
	for path, text := range map[string][]byte{"/fullchain.pem": certPEM, "/privkey.pem": keyPEM} {
		if old, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(old), planted) {
			t.Logf("replacing %s, which an earlier run has left", path)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatalf("plant a pair in the root of the file system: %v", err)
		}
		t.Cleanup(func() {
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
		})
		_, err = f.WriteString(planted + string(text))
		if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoRequestReadsAPrivateKey(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ main, server string }{
		"no location":           {"", ""},
		"empty location":        {"", "location / { }"},
		"try_files":             {"", "location / { try_files $uri =404; }"},
		"try_files of folders":  {"", "location / { try_files $uri $uri/ =404; }"},
		"regular expression":    {"", `location ~ \.pem$ { }`},
		"exact":                 {"", "location = /privkey.pem { }"},
		"index":                 {"", "location / { index privkey.pem; }"},
		"autoindex":             {"", "location / { autoindex on; }"},
		"error page":            {"", "error_page 403 404 /privkey.pem;"},
		"merged slashes off":    {"merge_slashes off;", "location / { }"},
		"symlinks are followed": {"disable_symlinks off;", "location / { }"},
		"static variants":       {"", "location / { gzip_static always; }"},
		"root of its own":       {"", "location / { root OWN; }"},
		"a named fall-back":     {"", "location / { try_files $uri @app; } location @app { return 404; }"},
		"alias":                 {"", "location /static/ { alias OWN/; }"},
		"alias without a slash": {"", "location /static { alias OWN/; }"},
		"alias by expression":   {"", "location ~ ^/static/(.*)$ { alias OWN/$1; }"},
		"named":                 {"", "location / { error_page 404 = @own; } location @own { root OWN; }"},
		"named without a root":  {"", "location / { error_page 404 = @again; } location @again { try_files $uri =404; }"},
		"rewritten":             {"", "rewrite ^/(.*)$ /$1 last;"},
		"raw path":              {"", "location / { try_files $request_uri =404; }"},
		"internal":              {"", "location / { internal; }"},
		"nested":                {"", "location / { location ~ key { } }"},
	}
	for _, mode := range []TLSMode{TLSVariable, TLSStatic} {
		for name, tt := range tests {
			t.Run(string(mode)+" "+name, func(t *testing.T) {
				t.Parallel()
				g := newTLSRig(t, testkit.NginxOptions{HTTP: tt.main})
				g.put(t, "a.test")
				file := filepath.Join(filepath.Dir(g.cfg.StateDir), "servers.conf")
				own := filepath.Dir(g.cfg.StateDir) + "/own/www"
				write(t, filepath.Join(own, "index.html"), "own")
				write(t, file, strings.ReplaceAll(tt.server, "OWN", own))
				servers := g.servers(NamesListed, "a.test")
				servers.Mode, servers.ServerInclude = mode, file
				g.serve(t, servers)
				for _, path := range []string{
					"/", "/privkey.pem", "/fullchain.pem", "/root/", "/root/../privkey.pem", "/../privkey.pem", "/..%2fprivkey.pem", "//privkey.pem",
					"/%2e%2e/privkey.pem", "/./privkey.pem", "/x/..//../privkey.pem", "/..\\privkey.pem", "/privkey.pem/", "/privkey.pem%00",
					"/static/privkey.pem", "/static../privkey.pem", "/static/../privkey.pem", "/static/..%2fprivkey.pem", "/x/../privkey.pem?/../privkey.pem",
				} {
					line := g.get(t, "a.test", path)
					if name == "autoindex" && path == "/" {
						continue // the list of an empty folder
					}
					if strings.Contains(line, " 200 ") || !strings.HasPrefix(line, "HTTP/1.1 4") {
						t.Errorf("GET %s = %s, want an error", path, line)
					}
				}
			})
		}
	}
}

// Least figures of the test under load.
const (
	loadHandshakes = 2000
	loadSwaps      = 1000
	loadClients    = 4
	loadNames      = 10
	loadPause      = 10 * time.Millisecond // between swaps of all names
)

func TestSwapsUnderLoadFailNoHandshake(t *testing.T) {
	t.Parallel()
	g := newTLSRig(t, testkit.NginxOptions{Workers: 2})
	var names []string
	for i := range loadNames {
		names = append(names, fmt.Sprintf("n%d.test", i))
	}
	versions := []map[string]fleet.Hash{g.put(t, names...), g.put(t, names...), g.put(t, names...)}
	g.serve(t, g.servers(NamesOpen))
	var begun, made, failed, swaps atomic.Int64
	var over atomic.Bool
	var clients sync.WaitGroup
	defer func() { over.Store(true); clients.Wait() }()
	for range loadClients {
		clients.Go(func() {
			for i := begun.Add(1); !over.Load() && (i <= loadHandshakes || swaps.Load() < loadSwaps); i = begun.Add(1) {
				made.Add(1)
				if err := handshake(g.addr, names[i%loadNames]); err != nil {
					failed.Add(1)
					t.Logf("handshake: %v", err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	began := time.Now()
	ticker := time.NewTicker(loadPause)
	defer ticker.Stop()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-ticker.C:
			round := int(swaps.Add(loadNames)) / loadNames
			if err := g.SetLive(versions[round%len(versions)]); err != nil {
				t.Fatal(err)
			}
		}
	}
	rate := float64(swaps.Load()) / time.Since(began).Seconds()
	t.Logf("%d handshakes, %d failed, %d swaps, %.0f a second", made.Load(), failed.Load(), swaps.Load(), rate)
	if failed.Load() != 0 {
		t.Errorf("%d of %d handshakes failed during %d swaps, want 0", failed.Load(), made.Load(), swaps.Load())
	}
}

func handshake(addr, sni string) error {
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: sni, InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	return c.Close()
}

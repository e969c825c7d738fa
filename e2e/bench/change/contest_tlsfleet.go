package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

const fleetName = "bench"

// tlsfleet is a whole agent, as an operator runs it, with names open and its
// nginx in variable mode: no change here needs a reload.
type tlsfleet struct {
	binary, keyring string
	http            string // address; empty: none
	store           *store.Store
	stock           *stock
}

func newTLSFleet(ctx context.Context, p *lab.Program, binary, consul string, s *stock) (*tlsfleet, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, fmt.Errorf("find tlsfleet: %w", err)
	}
	t := &tlsfleet{binary: binary, keyring: filepath.Join(p.TempDir(), "keyring"), stock: s}
	if _, err := lab.Run(ctx, nil, binary, "keyring", "init", "--file", t.keyring); err != nil {
		return nil, err
	}
	ring, err := seal.Load(t.keyring)
	if err != nil {
		return nil, err
	}
	t.store, err = store.Open(store.Config{Address: consul, Fleet: fleetName}, ring)
	return t, err
}

func (t *tlsfleet) bundle(l leaf) bundle.Bundle {
	return bundle.Bundle{Leaf: l.der, Key: fleet.NewSecret(t.stock.pkcs8), Chain: [][]byte{t.stock.issuer.Raw}}
}

func (t *tlsfleet) seed(ctx context.Context, leaves []leaf) error {
	edit := store.Edit{Now: time.Now()}
	for _, l := range leaves {
		edit.Put = append(edit.Put, store.Certificate{
			Bundle: t.bundle(l), Names: []string{l.name},
			Entry: fleet.Entry{NotAfter: l.notAfter, Source: fleet.SourceACME, Issuer: issuerName, Changed: l.notAfter.AddDate(0, 0, -90)},
		})
	}
	_, err := t.store.EditInventory(ctx, edit, "", nil)
	return err
}

func (t *tlsfleet) change(ctx context.Context, l leaf) error {
	edit := store.Edit{Now: time.Now(), Put: []store.Certificate{{
		Bundle: t.bundle(l), Names: []string{l.name},
		Entry: fleet.Entry{NotAfter: l.notAfter, Source: fleet.SourceACME, Issuer: issuerName},
	}}}
	_, err := t.store.EditInventory(ctx, edit, "", nil)
	return err
}

func (t *tlsfleet) open(_ context.Context, p *lab.Program, dir string) (node, error) {
	n := &tlsfleetNode{tlsfleet: t, dir: dir, run: testkit.TmpfsDir(p)}
	n.nginx = testkit.NewNginx(p, testkit.NginxOptions{StateDir: filepath.Join(dir, "state")})
	n.nginx.Start(p)
	return n, nil
}

type tlsfleetNode struct {
	*tlsfleet
	dir, run string
	nginx    *testkit.Nginx
}

func (n *tlsfleetNode) addr() string { return n.nginx.TLSAddrs[0] }

const tlsfleetConfig = `fleet        = %q
node         = "node1"
address      = "127.0.0.1"
keyring_file = %q
state_dir    = %q
run_dir      = %q
consul {
  address = %q
}
nginx {
  binary          = %q
  config_file     = %q
  pid_file        = %q
  release_address = %q
  default_servers = ["%[10]s ssl"]
}
http {
  address = %[11]q
}
certificates {
  mode   = "variable"
  names  = "open"
  listen = ["%[10]s ssl"]
}
`

func (n *tlsfleetNode) start(p *lab.Program, addr string) *lab.Process {
	file := filepath.Join(n.dir, "tlsfleet.hcl")
	release := "127.0.0.1:" + strconv.Itoa(testkit.FreePort(p, "127.0.0.1"))
	text := fmt.Sprintf(tlsfleetConfig, fleetName, n.keyring, n.nginx.StateDir, n.run, addr,
		n.nginx.Binary, n.nginx.ConfigFile, n.nginx.PIDFile, release, n.addr(), n.http)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.Fatalf("configure tlsfleet: %v", err)
	}
	return lab.Start(p, "tlsfleet", filepath.Join(n.dir, "agent.log"), nil, n.binary, "agent", "--config", file)
}

// read asks for what the HTTP address has.
func (n *tlsfleetNode) read(ctx context.Context) error {
	for _, path := range []string{"/", "/v1/fleet", "/v1/names", "/v1/expiry", "/v1/waiting", "/metrics"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.http+path, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("read %s: %s", path, resp.Status)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *tlsfleetNode) live() string { return filepath.Join(n.nginx.StateDir, "live") }

// complete looks at a few names first: to list all of them takes the time of
// whoever makes them.
func (n *tlsfleetNode) complete(names int) (_ bool, err error) {
	for range 16 {
		_, err := os.Lstat(filepath.Join(n.live(), nameOf(rand.IntN(names)))) //nolint:gosec // no secret
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
	}
	d, err := os.Open(n.live())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	entries, err := d.Readdirnames(-1)
	return len(entries) >= names, errors.Join(err, d.Close())
}

func (n *tlsfleetNode) placed(l leaf) (bool, error) {
	target, err := os.Readlink(filepath.Join(n.live(), l.name))
	return err == nil && filepath.Base(target) == bundle.Hash(n.bundle(l)).String(), err
}

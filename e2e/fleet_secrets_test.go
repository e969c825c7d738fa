package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Secrets collects the secret bytes that a fleet ever held and finds them, in
// the forms in which programs print bytes, where they must not be.
type Secrets struct {
	fleet *Fleet
	stop  chan struct{}
	done  chan struct{}

	mu    sync.Mutex
	parts map[string]bool // secret bytes
	forms []form          // in which they could be printed
	argv  map[string]bool // command lines seen
}

// WatchSecrets collects the key files of every node and the command lines of
// every process on this host until Secrets.Stop.
func (f *Fleet) WatchSecrets(t *testing.T) *Secrets {
	t.Helper()
	s := &Secrets{fleet: f, stop: make(chan struct{}), done: make(chan struct{}), parts: map[string]bool{}, argv: map[string]bool{}}
	s.addKeyring(t)
	go func() {
		defer close(s.done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			s.collect(t)
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
		}
	}()
	t.Cleanup(s.Stop)
	return s
}

// Stop ends the collection.
func (s *Secrets) Stop() {
	s.mu.Lock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.mu.Unlock()
	<-s.done
}

// Add makes bytes a secret.
func (s *Secrets) Add(what string, secret []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts[string(secret)] {
		return
	}
	s.parts[string(secret)] = true
	s.forms = append(s.forms, forms(what, secret)...)
}

// addKeyring adds what the fleet's keyring file holds: `tlsfleet-key-1 id base64`.
func (s *Secrets) addKeyring(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(s.fleet.keyring)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) != 3 || words[0] != "tlsfleet-key-1" {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(words[2])
		if err != nil || len(key) != 32 {
			t.Fatalf("read keyring: %d bytes, %v", len(key), err)
		}
		s.Add("keyring", key)
	}
}

// collect takes the secret parts of key files, without the name, and the
// command lines.
func (s *Secrets) collect(t *testing.T) {
	for _, n := range s.fleet.Nodes {
		for name, key := range n.KeyFiles(t) {
			switch len(key) {
			case 48:
				s.Add(name, key[16:32])
				s.Add(name, key[32:])
			case 80:
				s.Add(name, key[16:48])
				s.Add(name, key[48:])
			}
		}
	}
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Error(err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && len(text) > 0 { // else the process has ended
			s.mu.Lock()
			s.argv[string(text)] = true
			s.mu.Unlock()
		}
	}
}

// Count is how many secrets there are.
func (s *Secrets) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.parts)
}

// In names the secrets that text shows.
func (s *Secrets) In(text []byte) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for _, f := range s.forms {
		if bytes.Contains(text, f.text) {
			found = append(found, f.what)
		}
	}
	return found
}

// form is one way to print a secret.
type form struct {
	what string
	text []byte
}

// forms is how bytes look when they are printed. A secret can stand at any
// place in a longer base64 text: those digits of it that depend on nothing
// else are looked for.
func forms(what string, b []byte) []form {
	digits := hex.EncodeToString(b)
	decimals := strings.Trim(fmt.Sprintf("%d", b), "[]")
	out := []form{
		{what + " raw", b},
		{what + " in hex", []byte(digits)},
		{what + " in HEX", []byte(strings.ToUpper(digits))},
		{what + " in decimals", []byte(decimals)},
		{what + " in decimals, by fmt %#v or hclog", []byte(strings.ReplaceAll(decimals, " ", ", "))},
		{what + " as a JSON list", []byte(strings.ReplaceAll(decimals, " ", ","))},
		{what + " quoted", []byte(strings.Trim(fmt.Sprintf("%q", b), `"`))},
	}
	for shift := range 3 {
		padded := append(make([]byte, shift), b...)
		from, to := (shift*8+5)/6, len(padded)/3*4
		out = append(out, form{what + " in base64", []byte(base64.StdEncoding.EncodeToString(padded))[from:to]},
			form{what + " in base64url", []byte(base64.URLEncoding.EncodeToString(padded))[from:to]})
	}
	return out
}

// WantNone fails the test if a secret shows in any output of a command, log,
// value or path in Consul's KV, file outside of tmpfs, or command line.
func (s *Secrets) WantNone(t *testing.T) {
	t.Helper()
	s.Stop()
	for _, n := range s.fleet.Nodes {
		all := 0
		for _, key := range n.KeyFiles(t) {
			all += len(s.In(key))
		}
		if all == 0 {
			t.Errorf("no secret found in the key files of %s: the search is blind", n.Name)
		}
		s.wantNoneBelow(t, n.Nginx.Dir)
		s.wantNone(t, "log of "+n.Name, []byte(n.Agent.Log()))
	}
	for _, r := range s.fleet.Outputs() {
		s.wantNone(t, "output of "+strings.Join(r.Argv, " "), []byte(r.Stdout+r.Stderr))
	}
	pairs, _, err := s.fleet.Consul.Client(t).KV().List("", nil)
	if err != nil || len(pairs) == 0 {
		t.Fatalf("list KV: %d pairs, %v", len(pairs), err)
	}
	for _, p := range pairs {
		s.wantNone(t, "KV value "+p.Key, append([]byte(p.Key+"\n"), p.Value...))
	}
	s.wantNone(t, "Consul's log", []byte(s.fleet.Consul.Log()))
	for argv := range s.argv {
		s.wantNone(t, "command line "+strings.ReplaceAll(argv, "\x00", " "), []byte(argv))
	}
}

func (s *Secrets) wantNone(t *testing.T, where string, text []byte) {
	t.Helper()
	for _, what := range s.In(text) {
		t.Errorf("%s shows the secret of %s", where, what)
	}
}

// wantNoneBelow searches configuration, logs and state of a node.
func (s *Secrets) wantNoneBelow(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		s.wantNone(t, path, text)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

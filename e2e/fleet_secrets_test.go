package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	parts map[string]bool            // secret bytes
	forms []form                     // in which they could be printed
	seen  map[string]map[string]bool // texts of processes and temporary files, by kind of place
	shown []place
	later func() []place // more of them; nil: none
}

// place is where no secret may be.
type place struct {
	kind, what string
	text       []byte
}

// WatchSecrets collects the key files of every node, the command lines and
// environments of every process on this host and the fleet's temporary files
// until Secrets.Stop.
func (f *Fleet) WatchSecrets(t *testing.T) *Secrets {
	t.Helper()
	s := &Secrets{fleet: f, stop: make(chan struct{}), done: make(chan struct{}), parts: map[string]bool{}, seen: map[string]map[string]bool{}}
	s.AddKeyring(t, f.keyring)
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

// AddKeyring adds what a keyring file holds: `tlsfleet-key-1 id base64`.
func (s *Secrets) AddKeyring(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
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

// collect takes the secret parts of key files, without the name, and what shows
// for a moment only.
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
	for kind, pattern := range map[string]string{
		"command line": "/proc/[0-9]*/cmdline", "environment": "/proc/[0-9]*/environ", "temporary file": filepath.Join(s.fleet.tempDir(), "*"),
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Error(err)
		}
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil && len(text) > 0 { // else it is gone, or a folder
				s.see(kind, string(text))
			}
		}
	}
}

func (s *Secrets) see(kind, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[kind] == nil {
		s.seen[kind] = map[string]bool{}
	}
	s.seen[kind][text] = true
}

// Count is how many secrets there are.
func (s *Secrets) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.parts)
}

// In names the secrets that text shows, also where it is broken into lines, as
// PEM is.
func (s *Secrets) In(text []byte) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	joined := unbroken.Replace(string(text))
	var found []string
	for _, f := range s.forms {
		if bytes.Contains(text, f.text) || strings.Contains(joined, string(f.text)) {
			found = append(found, f.what)
		}
	}
	return found
}

var unbroken = strings.NewReplacer("\n", "", "\r", "", `\n`, "", `\r`, "", " ", "", "\t", "")

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

// WantNone fails the test if a secret shows in any place where none may be.
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
	}
	for _, p := range s.places(t) {
		for _, what := range s.In(p.text) {
			t.Errorf("%s %s shows the secret of %s", p.kind, strings.ReplaceAll(p.what, "\x00", " "), what)
		}
	}
}

// Show adds a place.
func (s *Secrets) Show(kind, what string, text []byte) {
	s.shown = append(s.shown, place{kind, what, text})
}

// places are all outputs of commands, logs, values and paths in Consul's KV, files
// outside of tmpfs, command lines, environments, temporary files and what was shown.
func (s *Secrets) places(t *testing.T) []place {
	t.Helper()
	all := slices.Clone(s.shown)
	if s.later != nil {
		all = append(all, s.later()...)
	}
	for _, n := range s.fleet.Nodes {
		all = append(all, place{"log", n.Name, []byte(n.Agent.Log())})
		all = append(all, below(t, n)...)
	}
	for _, r := range s.fleet.Outputs() {
		all = append(all, place{"output", strings.Join(r.Argv, " "), []byte(r.Stdout + r.Stderr)})
	}
	pairs, _, err := s.fleet.Consul.Client(t).KV().List("", nil)
	if err != nil || len(pairs) == 0 {
		t.Fatalf("list KV: %d pairs, %v", len(pairs), err)
	}
	for _, p := range pairs {
		all = append(all, place{"KV value", p.Key, append([]byte(p.Key+"\n"), p.Value...)})
	}
	all = append(all, place{"log", "Consul", []byte(s.fleet.Consul.Log())})
	s.mu.Lock()
	defer s.mu.Unlock()
	for kind, texts := range s.seen {
		for text := range texts {
			all = append(all, place{kind, text[:min(len(text), 200)], []byte(text)})
		}
	}
	return all
}

// below are configuration, logs and state of a node, but for the certificates
// that its nginx reads, and for the keyring and what it came by if that was Consul.
func below(t *testing.T, n *Node) (all []place) {
	t.Helper()
	store := filepath.Join(n.StateDir, "store") + string(filepath.Separator)
	walk(t, n.Nginx.Dir, func(path string, info fs.FileInfo) error {
		own := path == filepath.Join(n.StateDir, "keyring") || path == filepath.Join(n.StateDir, "node.age")
		if !info.Mode().IsRegular() || strings.HasPrefix(path, store) || own {
			return nil
		}
		text, err := os.ReadFile(path)
		all = append(all, place{"file", path, text})
		return err
	})
	return all
}

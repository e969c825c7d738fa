package seal_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/seal"
)

func newOperator(t *testing.T) *seal.Operator {
	t.Helper()
	o, made, err := seal.EnsureOperator(filepath.Join(t.TempDir(), "operator.key"))
	if err != nil || !made {
		t.Fatalf("EnsureOperator() = %v, %t, %v, want one made", o, made, err)
	}
	return o
}

func newIdentity(t *testing.T) *seal.Identity {
	t.Helper()
	id, made, err := seal.EnsureIdentity(filepath.Join(t.TempDir(), "node.age"))
	if err != nil || !made {
		t.Fatalf("EnsureIdentity() = %v, %t, %v, want one made", id, made, err)
	}
	return id
}

// TestGrantIsForOneNode: only the node opens what the operator has wrapped for it.
func TestGrantIsForOneNode(t *testing.T) {
	t.Parallel()
	o, id, ring := newOperator(t), newIdentity(t), fixed(t, 1, 2)
	ring, err := ring.Add(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	record, err := o.Wrap(seal.Grant{Fleet: "f", Node: "n", Recipient: id.Recipient(), Generation: 7}, ring)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(record), "tlsfleet-key-1") {
		t.Error("the record has the keyring in clear")
	}
	g, err := o.Public().Verify(record, "f", "n")
	if err != nil || g.Generation != 7 || !g.Fresh(ring) || g.Fresh(ring.Retire()) {
		t.Fatalf("Verify() = %+v, %v, want that of %s", g, err, ring)
	}
	got, err := id.Unwrap(g)
	if err != nil || !got.Marshal().Equal(ring.Marshal()) {
		t.Errorf("Unwrap() = %v, %v, want %v", got, err, ring)
	}
	if k, err := newIdentity(t).Unwrap(g); !errors.Is(err, seal.ErrGrant) {
		t.Errorf("Unwrap() by another node = %v, %v, want %v", k, err, seal.ErrGrant)
	}
	lied := g
	lied.Recipient = newIdentity(t).Recipient()
	if k, err := newIdentity(t).Unwrap(lied); !errors.Is(err, seal.ErrGrant) {
		t.Errorf("Unwrap() of what says another recipient = %v, %v, want %v", k, err, seal.ErrGrant)
	}
	swapped := g
	swapped.Keys = swapped.Keys[:1]
	if k, err := id.Unwrap(swapped); !errors.Is(err, seal.ErrGrant) {
		t.Errorf("Unwrap() of another keyring than it says = %v, %v, want %v", k, err, seal.ErrGrant)
	}
	for name, tt := range map[string]struct {
		now  int64
		want uint64
	}{"slow clock": {3, 8}, "before 1970": {-1, 8}, "right clock": {1700, 1700}} {
		if got := seal.NextGeneration(g.Generation, tt.now); got != tt.want {
			t.Errorf("%s: NextGeneration(%d, %d) = %d, want %d", name, g.Generation, tt.now, got, tt.want)
		}
	}
}

// TestGrantRefusesForgeries: whoever can write to Consul cannot make, move or
// change one.
func TestGrantRefusesForgeries(t *testing.T) {
	t.Parallel()
	o, id := newOperator(t), newIdentity(t)
	grant := seal.Grant{Fleet: "f", Node: "n", Recipient: id.Recipient(), Generation: 7}
	record, err := o.Wrap(grant, fixed(t, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := newOperator(t).Wrap(grant, fixed(t, 5, 1))
	if err != nil {
		t.Fatal(err)
	}
	var parts struct {
		Schema    int    `json:"schema"`
		Grant     []byte `json:"grant"`
		Signature []byte `json:"signature"`
	}
	if err := json.Unmarshal(record, &parts); err != nil {
		t.Fatal(err)
	}
	parts.Grant = []byte(strings.Replace(string(parts.Grant), `"generation":7`, `"generation":9`, 1))
	newer, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		record      []byte
		fleet, node string
	}{
		"another operator": {forged, "f", "n"}, "another fleet": {record, "g", "n"}, "another node": {record, "f", "m"},
		"a newer generation": {newer, "f", "n"}, "nothing": {nil, "f", "n"}, "not JSON": {[]byte("x"), "f", "n"},
		"no signature": {[]byte(`{"schema":1,"grant":"e30="}`), "f", "n"}, "cut off": {record[:len(record)/2], "f", "n"},
		"too large":      {append(slices.Clone(record), bytes.Repeat([]byte(" "), 256<<10)...), "f", "n"},
		"another schema": {bytes.Replace(record, []byte(`"schema":1`), []byte(`"schema":2`), 1), "f", "n"},
	} {
		if g, err := o.Public().Verify(tt.record, tt.fleet, tt.node); !errors.Is(err, seal.ErrGrant) {
			t.Errorf("%s: Verify() = %+v, %v, want %v", name, g, err, seal.ErrGrant)
		}
	}
	if g, err := (seal.OperatorKey{}).Verify(record, "f", "n"); !errors.Is(err, seal.ErrGrant) {
		t.Errorf("Verify() without a key = %+v, %v, want %v", g, err, seal.ErrGrant)
	}
}

// TestIdentityIsMadeOnce by programs that start at the same time.
func TestIdentityIsMadeOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "node.age")
	var all sync.WaitGroup
	got := make([]string, 16)
	begin := make(chan struct{})
	for i := range got {
		all.Go(func() {
			<-begin
			id, _, err := seal.EnsureIdentity(path)
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = id.Recipient()
		})
	}
	close(begin)
	all.Wait()
	if first := got[0]; slices.ContainsFunc(got, func(r string) bool { return r != first }) {
		t.Errorf("EnsureIdentity() at once = %q, want one identity", got)
	}
}

func TestIdentityFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, operator := filepath.Join(dir, "node.age"), filepath.Join(dir, "operator.key")
	id, _, err := seal.EnsureIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := seal.EnsureOperator(operator)
	if err != nil {
		t.Fatal(err)
	}
	again, made, err := seal.EnsureIdentity(path)
	if err != nil || made || again.Recipient() != id.Recipient() {
		t.Errorf("EnsureIdentity() again = %v, %t, %v, want %v", again, made, err, id)
	}
	if o2, made, err := seal.EnsureOperator(operator); err != nil || made || o2.String() != o.String() {
		t.Errorf("EnsureOperator() again = %v, %t, %v, want %v", o2, made, err, o)
	}
	if key, err := seal.ParseOperatorKey(o.String()); err != nil || key.String() != o.String() {
		t.Errorf("ParseOperatorKey(%s) = %s, %v", o, key, err)
	}
	if err := seal.CheckRecipient(id.Recipient()); err != nil {
		t.Errorf("CheckRecipient(%s) = %v", id.Recipient(), err)
	}
	for _, bad := range []string{"", "age1", o.String()} {
		if err := seal.CheckRecipient(bad); !errors.Is(err, seal.ErrIdentity) {
			t.Errorf("CheckRecipient(%q) = %v, want %v", bad, err, seal.ErrIdentity)
		}
	}
	for _, file := range []string{path, operator} {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v, want 0600", file, info.Mode(), err)
		}
		if err := os.Chmod(file, 0o640); err != nil { //nolint:gosec // what is to be refused
			t.Fatal(err)
		}
	}
	ensure := map[string]func() error{
		path:     func() error { _, _, err := seal.EnsureIdentity(path); return err },
		operator: func() error { _, _, err := seal.EnsureOperator(operator); return err },
	}
	for file, again := range ensure {
		if err := again(); !errors.Is(err, seal.ErrIdentity) || !strings.Contains(err.Error(), "chmod 600 "+file) {
			t.Errorf("ensure %s that others can read = %v, want %v and what to do", file, err, seal.ErrIdentity)
		}
		for name, text := range map[string]string{"empty": "", "cut off": "# tlsfleet\nAGE-SECRET-KEY-1AB\n", "large": strings.Repeat("# \n", 30_000)} {
			if err := errors.Join(os.Remove(file), os.WriteFile(file, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
			if err := again(); !errors.Is(err, seal.ErrIdentity) || strings.Contains(err.Error(), "AGE-SECRET") {
				t.Errorf("ensure %s that is %s = %v, want %v without the text", file, name, err, seal.ErrIdentity)
			}
			if got, err := os.ReadFile(file); err != nil || string(got) != text {
				t.Errorf("%s that is %s was written anew: %q, %v", file, name, got, err)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files left behind: %q, %v", left, err)
	}
}

// TestWritePrivateKeepsAFileToItsOwner also when somebody has opened it to others.
func TestWritePrivateKeepsAFileToItsOwner(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"one", "two"} {
		if err := seal.WritePrivate(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := seal.ReadPrivate(path, 3); err != nil || string(got) != text {
			t.Errorf("ReadPrivate() = %q, %v, want %q", got, err, text)
		}
		if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // what is to be refused
			t.Fatal(err)
		}
		if got, err := seal.ReadPrivate(path, 3); !errors.Is(err, seal.ErrPrivate) {
			t.Errorf("ReadPrivate() of a file of mode 0644 = %q, %v, want %v", got, err, seal.ErrPrivate)
		}
	}
	if err := seal.WritePrivate(path, []byte("three")); err != nil {
		t.Fatal(err)
	}
	if got, err := seal.ReadPrivate(path, 3); !errors.Is(err, seal.ErrPrivate) {
		t.Errorf("ReadPrivate() of 5 bytes, limit 3 = %q, %v, want %v", got, err, seal.ErrPrivate)
	}
}

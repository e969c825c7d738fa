package seal_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
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
	if got := g.NextGeneration(3); got != 8 {
		t.Errorf("NextGeneration() with a slow clock = %d, want 8", got)
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
		"no signature": {[]byte(`{"schema":1,"grant":"e30="}`), "f", "n"}, "too large": {append(record, make([]byte, 256<<10)...), "f", "n"},
	} {
		if g, err := o.Public().Verify(tt.record, tt.fleet, tt.node); !errors.Is(err, seal.ErrGrant) {
			t.Errorf("%s: Verify() = %+v, %v, want %v", name, g, err, seal.ErrGrant)
		}
	}
	if g, err := (seal.OperatorKey{}).Verify(record, "f", "n"); !errors.Is(err, seal.ErrGrant) {
		t.Errorf("Verify() without a key = %+v, %v, want %v", g, err, seal.ErrGrant)
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
	if _, _, err := seal.EnsureIdentity(path); !errors.Is(err, seal.ErrIdentity) {
		t.Errorf("EnsureIdentity() of a file that others can read = %v, want %v", err, seal.ErrIdentity)
	}
	if _, _, err := seal.EnsureOperator(operator); !errors.Is(err, seal.ErrIdentity) {
		t.Errorf("EnsureOperator() of a file that others can read = %v, want %v", err, seal.ErrIdentity)
	}
}

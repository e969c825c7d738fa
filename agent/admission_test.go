package agent

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// desk is an operator's host, and Consul as somebody sees it who may write anything
// there.
type desk struct {
	*Keyrings
	kv *api.KV
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	dir, consul := t.TempDir(), testkit.SharedConsul(t)
	cfg := config.Config{
		Fleet: testkit.FleetName(t), KeyringFile: filepath.Join(dir, "keyring"), Consul: config.Consul{Address: consul.Addr},
		Keyring: config.Keyring{From: config.KeyringFile, OperatorKeyFile: filepath.Join(dir, "operator.key")},
	}
	if _, err := seal.Create(cfg.KeyringFile); err != nil {
		t.Fatal(err)
	}
	if _, _, err := seal.EnsureOperator(cfg.Keyring.OperatorKeyFile); err != nil {
		t.Fatal(err)
	}
	k, err := OpenKeyrings(cfg, false, testkit.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	return &desk{k, consul.Client(t).KV()}
}

func newIdentity(t *testing.T) *seal.Identity {
	t.Helper()
	id, _, err := seal.EnsureIdentity(filepath.Join(t.TempDir(), "node.age"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (d *desk) path(node string) string { return "tlsfleet/" + d.cfg.Fleet + "/keyring/nodes/" + node }

func (d *desk) record(t *testing.T, node string) []byte {
	t.Helper()
	pair, _, err := d.kv.Get(d.path(node), nil)
	if err != nil || pair == nil {
		t.Fatalf("read the keyring of %s: %v, %v", node, pair, err)
	}
	return pair.Value
}

func (d *desk) plant(t *testing.T, node string, record []byte) {
	t.Helper()
	if _, err := d.kv.Put(&api.KVPair{Key: d.path(node), Value: record}, nil); err != nil {
		t.Fatal(err)
	}
}

func (d *desk) admit(t *testing.T, node string, id *seal.Identity) Admission {
	t.Helper()
	done, err := d.Admit(t.Context(), node, id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// next adds a key to the keyring, as the first step of a rotation does, and hands
// it out.
func (d *desk) next(t *testing.T) *seal.Keyring {
	t.Helper()
	was, err := seal.Load(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	if was.Next() != "" {
		if was, err = was.Promote(); err != nil {
			t.Fatal(err)
		}
	}
	now, err := was.Add(rand.Reader)
	if err == nil {
		err = seal.Write(d.Path(), now)
	}
	if err == nil {
		err = d.hand(t.Context(), now)
	}
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// opens is the keyring that an identity gets of what is in Consul now.
func (d *desk) opens(t *testing.T, node string, id *seal.Identity) (*seal.Keyring, uint64, error) {
	t.Helper()
	key, err := seal.ParseOperatorKey(d.operatorKey(t))
	if err != nil {
		t.Fatal(err)
	}
	g, err := key.Verify(d.record(t, node), d.cfg.Fleet, node)
	if err != nil {
		return nil, 0, err
	}
	ring, err := id.Unwrap(g)
	return ring, g.Generation, err
}

func (d *desk) operatorKey(t *testing.T) string {
	t.Helper()
	o, err := seal.LoadOperator(d.cfg.Keyring.OperatorKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return o.String()
}

// TestHandBringsEveryNodeTheKeyring also in place of records that are gone,
// damaged, forged or old, each newer than the last, and writes nothing twice.
func TestHandBringsEveryNodeTheKeyring(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, d *desk, old []byte){
		"as it was": func(*testing.T, *desk, []byte) {},
		"gone": func(t *testing.T, d *desk, _ []byte) {
			if _, err := d.kv.Delete(d.path("n"), nil); err != nil {
				t.Fatal(err)
			}
		},
		"damaged": func(t *testing.T, d *desk, old []byte) { d.plant(t, "n", old[:len(old)/2]) },
		"empty":   func(t *testing.T, d *desk, _ []byte) { d.plant(t, "n", nil) },
		"old":     func(t *testing.T, d *desk, old []byte) { d.plant(t, "n", old) },
		"forged": func(t *testing.T, d *desk, _ []byte) {
			record, err := newOperator(t).Wrap(seal.Grant{Fleet: d.cfg.Fleet, Node: "n", Recipient: newIdentity(t).Recipient(), Generation: 1 << 60}, newKeyring(t))
			if err != nil {
				t.Fatal(err)
			}
			d.plant(t, "n", record)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, n, m := newDesk(t), newIdentity(t), newIdentity(t)
			d.admit(t, "n", n)
			d.admit(t, "m", m)
			old := d.record(t, "n")
			d.next(t)
			_, before, err := d.opens(t, "n", n)
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, d, old)
			want := d.next(t)
			for node, id := range map[string]*seal.Identity{"n": n, "m": m} {
				if got, _, err := d.opens(t, node, id); err != nil || !got.Marshal().Equal(want.Marshal()) {
					t.Errorf("%s gets %v, %v, want %v", node, got, err, want)
				}
			}
			if _, after, err := d.opens(t, "n", n); err != nil || after <= before {
				t.Errorf("generation %d, %v, want one above %d", after, err, before)
			}
			record := d.record(t, "n")
			if err := d.hand(t.Context(), want); err != nil || string(d.record(t, "n")) != string(record) {
				t.Errorf("hand() again = %v, and it has written what was there", err)
			}
			// The same keyring, but one that the node refuses.
			d.admit(t, "n", n)
			d.plant(t, "n", record)
			if err := d.hand(t.Context(), want); err != nil || string(d.record(t, "n")) == string(record) {
				t.Errorf("hand() = %v, and it has left a record that is older than the last", err)
			}
		})
	}
}

// TestHandGivesNothingToWhoIsNotAdmitted: Consul has the record of a node that was
// revoked, or of the identity that a node had before, as after a snapshot was
// restored. It was signed by the operator once.
func TestHandGivesNothingToWhoIsNotAdmitted(t *testing.T) {
	t.Parallel()
	d, gone, before, now := newDesk(t), newIdentity(t), newIdentity(t), newIdentity(t)
	d.admit(t, "gone", gone)
	d.admit(t, "n", before)
	records := map[string][]byte{"gone": d.record(t, "gone"), "n": d.record(t, "n")}
	if done := d.admit(t, "n", now); done.Before != before.Recipient() {
		t.Errorf("Admit() of another identity says %q was before, want %q", done.Before, before.Recipient())
	}
	if _, err := d.strike(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	if pair, _, err := d.kv.Get(d.path("gone"), nil); err != nil || pair != nil {
		t.Errorf("the record of a revoked node is %v, %v, want none", pair, err)
	}
	for node, record := range records {
		d.plant(t, node, record)
	}
	want := d.next(t)
	if string(d.record(t, "gone")) != string(records["gone"]) {
		t.Error("hand() has written a keyring for a node that was revoked")
	}
	if got, _, err := d.opens(t, "n", before); !errors.Is(err, seal.ErrGrant) {
		t.Errorf("the identity that the node had before gets %v, %v, want %v", got, err, seal.ErrGrant)
	}
	if got, _, err := d.opens(t, "n", now); err != nil || !got.Marshal().Equal(want.Marshal()) {
		t.Errorf("the node gets %v, %v, want %v", got, err, want)
	}
	list, err := d.Admitted(t.Context())
	if err != nil || len(list) != 2 || list[0].Node != "gone" || list[0].Err != ErrNotAdmitted.Error() || list[1].Err != "" || !slices.Equal(list[1].Keys, want.IDs()) {
		t.Errorf("Admitted() = %+v, %v, want the revoked one with an error and %v", list, err, want)
	}
	if _, err := d.strike(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	if pair, _, err := d.kv.Get(d.path("gone"), nil); err != nil || pair != nil {
		t.Errorf("the record of a revoked node is %v, %v after it was revoked again, want none", pair, err)
	}
}

// TestRegisterMayBeAnOldCopy: what the operator has signed since counts, too.
func TestRegisterMayBeAnOldCopy(t *testing.T) {
	t.Parallel()
	d, first, second := newDesk(t), newIdentity(t), newIdentity(t)
	d.admit(t, "n", first)
	file := d.cfg.Keyring.RegisterFile(d.cfg.Fleet)
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d.admit(t, "n", second)
	ring, err := seal.Load(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	operator, err := seal.LoadOperator(d.cfg.Keyring.OperatorKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	const ahead = 1 << 50 // by a clock that was put right since
	record, err := operator.Wrap(seal.Grant{Fleet: d.cfg.Fleet, Node: "n", Recipient: second.Recipient(), Generation: ahead}, ring)
	if err != nil {
		t.Fatal(err)
	}
	d.plant(t, "n", record)
	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	d.next(t)
	if _, after, err := d.opens(t, "n", first); err != nil || after <= ahead {
		t.Errorf("generation %d, %v, want one that the node takes, above %d", after, err, uint64(ahead))
	}

	d.plant(t, "n", record)
	if _, err := d.strike(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]*seal.Identity{"the register's": first, "the record's": second} {
		if _, err := d.Admit(t.Context(), "m", id.Recipient()); !errors.Is(err, ErrRevoked) {
			t.Errorf("Admit() of %s identity = %v, want %v", name, err, ErrRevoked)
		}
	}
}

// TestAdmissionsAtOnceAreAllKept by commands that run at the same time.
func TestAdmissionsAtOnceAreAllKept(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var all sync.WaitGroup
	want := map[string]string{}
	for i := range 12 {
		k, err := OpenKeyrings(d.cfg, false, testkit.Logger(t))
		if err != nil {
			t.Fatal(err)
		}
		node, recipient := fmt.Sprintf("n%d", i), newIdentity(t).Recipient()
		want[node] = recipient
		all.Go(func() {
			if _, err := k.Admit(t.Context(), node, recipient); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	list, err := d.Admitted(t.Context())
	if err != nil || len(list) != len(want) {
		t.Fatalf("Admitted() = %+v, %v, want %d nodes", list, err, len(want))
	}
	for _, n := range list {
		if n.Err != "" || n.Recipient != want[n.Node] {
			t.Errorf("%s has %s, %q, want %s", n.Node, n.Recipient, n.Err, want[n.Node])
		}
	}
}

func TestAdmitRefuses(t *testing.T) {
	t.Parallel()
	d, id := newDesk(t), newIdentity(t)
	d.admit(t, "gone", id)
	if _, err := d.strike(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	twin := newIdentity(t)
	d.admit(t, "m", twin)
	fresh := newIdentity(t).Recipient()
	for name, tt := range map[string]struct {
		node, recipient string
		change          func(c *config.Config)
		want            error
	}{
		"an identity that was revoked":    {"n", id.Recipient(), nil, ErrRevoked},
		"a node that is being revoked":    {"gone", fresh, nil, ErrRevoking},
		"the identity of another node":    {"n", twin.Recipient(), nil, ErrAdmittedAs},
		"no identity":                     {"n", "age1", nil, seal.ErrIdentity},
		"a host without operator's key":   {"n", fresh, func(c *config.Config) { c.Keyring.OperatorKeyFile += "x" }, ErrNoOperator},
		"a host with a keyring of Consul": {"n", fresh, func(c *config.Config) { c.Keyring.From = config.KeyringConsul }, ErrHandedOut},
	} {
		cfg := d.cfg
		if tt.change != nil {
			tt.change(&cfg)
		}
		k, err := OpenKeyrings(cfg, false, testkit.Logger(t))
		if err != nil {
			t.Fatal(err)
		}
		if done, err := k.Admit(t.Context(), tt.node, tt.recipient); !errors.Is(err, tt.want) {
			t.Errorf("%s: Admit() = %+v, %v, want %v", name, done, err, tt.want)
		}
		if pair, _, err := d.kv.Get(d.path(tt.node), nil); err != nil || pair != nil {
			t.Errorf("%s: Consul has %v, %v, want nothing", name, pair, err)
		}
	}
	if _, err := d.Admit(t.Context(), "../n", fresh); err == nil {
		t.Error("Admit() of a node with a bad name = nil")
	}
}

// TestHandNeedsTheOperator where nodes get the keyring from Consul, and only there.
func TestHandNeedsTheOperator(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ring, err := seal.Load(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := *d.Keyrings
	elsewhere.cfg.Keyring.OperatorKeyFile += "x"
	if err := elsewhere.hand(t.Context(), ring); err != nil {
		t.Errorf("hand() in a fleet with files = %v, want nil", err)
	}
	d.admit(t, "n", newIdentity(t))
	if err := elsewhere.hand(t.Context(), ring); !errors.Is(err, ErrNoOperator) {
		t.Errorf("hand() without the operator's key = %v, want %v", err, ErrNoOperator)
	}
}

// TestRegisterRefusesWhatIsDamaged, and writes nothing in its place.
func TestRegisterRefusesWhatIsDamaged(t *testing.T) {
	t.Parallel()
	d, id, other := newDesk(t), newIdentity(t).Recipient(), newIdentity(t)
	if _, err := d.Admit(t.Context(), "n", id); err != nil {
		t.Fatal(err)
	}
	d.admit(t, "o", other)
	file := d.cfg.Keyring.RegisterFile(d.cfg.Fleet)
	sound, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"open to others":       {string(sound), 0o640, "chmod 600 " + file},
		"cut off":              {string(sound[:len(sound)/2]), 0o600, "bring back a copy"},
		"empty":                {"", 0o600, "bring back a copy"},
		"of another fleet":     {strings.Replace(string(sound), d.cfg.Fleet, "other", 1), 0o600, "bring back a copy"},
		"of a later version":   {strings.Replace(string(sound), `"schema": 1`, `"schema": 2`, 1), 0o600, "bring back a copy"},
		"without its nodes":    {strings.Replace(string(sound), `"nodes"`, `"x"`, 1), 0o600, "parts of it are missing"},
		"with no identity":     {strings.Replace(string(sound), "age1", "age2", 1), 0o600, "bring back a copy"},
		"with one for two":     {strings.Replace(string(sound), other.Recipient(), id, 1), 0o600, "that another node has"},
		"with who was revoked": {strings.Replace(string(sound), `"revoked": null`, `"revoked": ["`+id+`"]`, 1), 0o600, "was revoked"},
		"with a name to climb": {strings.Replace(string(sound), `"n"`, `"../n"`, 1), 0o600, "bring back a copy"},
	} {
		if err := errors.Join(os.WriteFile(file, []byte(tt.text), 0o600), os.Chmod(file, tt.mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Admit(t.Context(), "m", newIdentity(t).Recipient()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Admit() with a register %s = %v, want it refused with %q", name, err, tt.want)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != tt.text {
			t.Errorf("the register %s was changed: %q, %v", name, got, err)
		}
	}
}

// TestRevocationGoesOn from where it stopped: with the keys of the first time,
// through a rotation that is under way, and never with less than that.
func TestRevocationGoesOn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.admit(t, "gone", newIdentity(t))
	had := d.next(t).IDs()
	known, err := d.strike(t.Context(), "gone")
	if want := union(had, nil); err != nil || !slices.Equal(known, want) {
		t.Fatalf("strike() = %v, %v, want %v", known, err, want)
	}
	d.next(t)
	if again, err := d.strike(t.Context(), "gone"); err != nil || !slices.Equal(again, known) {
		t.Errorf("strike() again = %v, %v, want the keys of the first time, %v", again, err, known)
	}
	if _, err := d.strike(t.Context(), "nobody"); !errors.Is(err, ErrNotAdmitted) {
		t.Errorf("strike() of a node that was never admitted = %v, want %v", err, ErrNotAdmitted)
	}
	force := KeyringRequest{Force: true}
	if key, err := d.replaceAll(t.Context(), known, force); err == nil {
		t.Errorf("replaceAll() while the file has keys of the node = %s, nil, want it to wait for the leader", key)
	}

	// So it does when it has let the new key seal, and what Consul knew of it is gone.
	half, err := seal.Load(d.Path())
	if err != nil || slices.Contains(known, half.Sealing()) {
		t.Fatalf("the keyring is %v, %v, want another key to seal in it", half, err)
	}
	d.noteRotation(t, "")
	if key, err := d.replaceAll(t.Context(), known, force); err == nil {
		t.Errorf("replaceAll() while keys of the node open = %s, nil, want it to wait for the leader", key)
	}

	// All but the last note of it was done.
	fresh := half.Retire()
	if err := seal.Write(d.Path(), fresh); err != nil {
		t.Fatal(err)
	}
	if err := d.reopen(); err != nil {
		t.Fatal(err)
	}
	d.noteRotation(t, fresh.Sealing())
	if key, err := d.replaceAll(t.Context(), known, force); err != nil || key != fresh.Sealing() {
		t.Errorf("replaceAll() at the end = %s, %v, want %s", key, err, fresh.Sealing())
	}
	if rec, err := d.store.Rotation(t.Context()); err != nil || rec.Rotation.To != "" {
		t.Errorf("the rotation is to %q, %v, want it ended", rec.Rotation.To, err)
	}
	if err := d.through("gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.strike(t.Context(), "gone"); !errors.Is(err, ErrNotAdmitted) {
		t.Errorf("strike() of a node that was revoked = %v, want %v", err, ErrNotAdmitted)
	}
}

// noteRotation writes what a rotation to a key leaves in Consul until its end.
func (d *desk) noteRotation(t *testing.T, to string) {
	t.Helper()
	if _, err := d.kv.Delete("tlsfleet/"+d.cfg.Fleet+"/keyring/rotation", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := d.store.PutRotation(t.Context(), store.Rotation{To: to}, 0); err != nil {
		t.Fatal(err)
	}
}

// TestRegisterHoldsNoSecret but public keys, ids and names.
func TestRegisterHoldsNoSecret(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.admit(t, "n", newIdentity(t))
	d.next(t)
	text, err := os.ReadFile(d.cfg.Keyring.RegisterFile(d.cfg.Fleet))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil || len(fields) != 5 {
		t.Errorf("the register has %d parts, %v, want schema, fleet, nodes, revoking and revoked", len(fields), err)
	}
	for _, word := range []string{"AGE-SECRET", "tlsfleet-key-1", "tlsfleet-operator-1"} {
		if strings.Contains(string(text), word) {
			t.Errorf("the register has %q in it", word)
		}
	}
}

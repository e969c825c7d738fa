package ticket_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

// machine changes a ring in any order and checks what must hold after each
// change.
type machine struct {
	ring fleet.Ring
	keep int
	seed uint32
}

func (m *machine) change(t *rapid.T, fresh int) ticket.Change {
	c := ticket.Change{
		Now: m.ring.Changed.Add(time.Duration(rapid.Int64Range(-1e13, 1e13).Draw(t, "elapsed"))),
		By:  "a", Cause: fleet.CauseCLI, Keep: m.keep,
		Skipped:  rapid.SliceOfN(rapid.StringMatching(`n[0-9]`), 0, 4).Draw(t, "skipped"),
		Events:   rapid.SliceOfN(rapid.StringMatching(`e[0-9]{1,3}`), 0, 60).Draw(t, "events"),
		MinEpoch: rapid.Uint64Range(0, 30).Draw(t, "min_epoch"),
	}
	for range fresh {
		m.seed++
		k, err := ticket.NewKey(bytes.NewReader(rawKey(80, m.seed)), c.Now)
		if err != nil {
			t.Fatal(err)
		}
		c.Fresh = append(c.Fresh, k)
	}
	return c
}

// follow checks the step from the ring to the one after it and takes it.
func (m *machine) follow(t *rapid.T, next fleet.Ring, err error, minEpoch uint64) {
	if err != nil {
		t.Fatal(err)
	}
	if next.Epoch <= m.ring.Epoch || next.Epoch <= minEpoch {
		t.Fatalf("epoch %d after %d with minimum %d, want it to grow", next.Epoch, m.ring.Epoch, minEpoch)
	}
	if err := ticket.Validate(next); err != nil {
		t.Fatalf("Validate() = %v, want nil", err)
	}
	if n := len(next.Members()); n > m.keep+2 || n > fleet.MaxRingKeys {
		t.Fatalf("%d keys, want at most keep %d + 2", n, m.keep)
	}
	names := make(map[fleet.KeyName]bool)
	for _, member := range next.Members() {
		names[member.Key.Name()] = true
	}
	if len(names) != len(next.Members()) {
		t.Fatalf("%d names for %d keys", len(names), len(next.Members()))
	}
	encoded, err := ticket.Encode(next)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := ticket.Decode(encoded)
	if err != nil || !reflect.DeepEqual(decoded, next) {
		t.Fatalf("Decode(Encode()) = %+v, %v, want %+v", decoded, err, next)
	}
	m.ring = next
}

// opens reports whether a node with ring r opens tickets sealed with k.
func opens(r fleet.Ring, k fleet.TicketKey) bool {
	for _, m := range r.Members() {
		if m.Key.Raw.Equal(k.Raw) {
			return true
		}
	}
	return false
}

func TestRingProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{keep: rapid.IntRange(1, fleet.MaxRingKeys-2).Draw(t, "keep")}
		c := m.change(t, 2)
		c.Now = day
		r, err := ticket.Create(c)
		m.follow(t, r, err, c.MinEpoch)
		t.Repeat(map[string]func(*rapid.T){
			"rotate": func(t *rapid.T) {
				old, c := m.ring, m.change(t, 1)
				r, err := ticket.Rotate(old, c)
				m.follow(t, r, err, c.MinEpoch)
				if !r.Current.Raw.Equal(old.Next.Raw) || !r.Previous[0].Raw.Equal(old.Current.Raw) {
					t.Fatal("Rotate() does not move next to current and current to previous")
				}
				if !opens(old, r.Current) || !opens(r, old.Current) {
					t.Fatal("a node one rotation behind and one with the new ring do not open each other's tickets")
				}
				if r.Promote || r.Emergency {
					t.Fatalf("Rotate() = promote %t, emergency %t, want neither", r.Promote, r.Emergency)
				}
			},
			"adopt": func(t *rapid.T) {
				m.seed++
				old, c := m.ring, m.change(t, 0)
				size := rapid.SampledFrom([]int{48, 80}).Draw(t, "size")
				r, err := ticket.Adopt(old, secret(size, m.seed), fleet.OriginFile, c)
				m.follow(t, r, err, c.MinEpoch)
				if !opens(old, r.Current) || !opens(r, old.Current) || !r.Promote {
					t.Fatal("Adopt() changes what seals, or does not ask for the promotion")
				}
			},
			"adopt a key of the ring": func(t *rapid.T) {
				k := rapid.SampledFrom(m.ring.Members()).Draw(t, "member")
				r, err := ticket.Adopt(m.ring, k.Key.Raw, fleet.OriginEvent, m.change(t, 0))
				if wantOK := k.Role == fleet.RoleNext && !m.ring.Promote; (err == nil) != wantOK {
					t.Fatalf("Adopt(%s key) = epoch %d, %v, want success %t", k.Role, r.Epoch, err, wantOK)
				}
			},
			"emergency": func(t *rapid.T) {
				old, c := m.ring, m.change(t, 2)
				r, err := ticket.Emergency(old, c)
				m.follow(t, r, err, c.MinEpoch)
				for _, member := range old.Members() {
					if opens(r, member.Key) {
						t.Fatalf("Emergency() still holds the old %s key", member.Role)
					}
				}
			},
		})
	})
}

// TestTwoRotationsBehindCannotOpen pins why a rotation waits for proof: a node
// two rotations behind cannot open new tickets.
func TestTwoRotationsBehindCannotOpen(t *testing.T) {
	old, now := firstRing(t), ringOf(t, 2)
	if opens(old, now.Current) {
		t.Errorf("a ring at epoch %d opens tickets of epoch %d, want it not to", old.Epoch, now.Epoch)
	}
}

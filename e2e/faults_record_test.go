package e2e

import (
	"crypto/rand"
	"slices"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
)

// TestPlantedRingRecordsAreRefused writes records over the ring that no fleet
// makes: every node keeps what it has, says so, and goes on with the good one.
func TestPlantedRingRecordsAreRefused(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 2, nil))
	good := f.StoredRing(t)
	tests := map[string][]byte{
		"nothing":                  nil,
		"truncated":                good[:len(good)/2],
		"one byte short":           good[:len(good)-1],
		"one byte long":            append(slices.Clone(good), 0),
		"bit flipped in the key":   flipped(good, len(good)-1),
		"bit flipped in the epoch": flipped(good, 16),
		"not sealed":               []byte(`{"schema":1}`),
		"from another fleet":       f.sealed(t, f.loadKeyring(t), "other", f.ringPath(), `{"schema":1}`),
		"from another path":        f.sealed(t, f.loadKeyring(t), f.Name, "tlsfleet/"+f.Name+"/meta", `{"schema":1}`),
		"with another keyring":     f.sealed(t, anotherKeyring(t), f.Name, f.ringPath(), `{"schema":1}`),
		"of another schema":        f.sealed(t, f.loadKeyring(t), f.Name, f.ringPath(), `{"schema":99}`),
		"empty inside":             f.sealed(t, f.loadKeyring(t), f.Name, f.ringPath(), ``),
	}
	before := []held{f.Nodes[0].Held(t), f.Nodes[1].Held(t)}
	for name, record := range tests {
		t.Run(name, func(t *testing.T) {
			f.PlantRing(t, record)
			for i, n := range f.Nodes {
				WantProblem(t, n.AwaitProblem(t, "ring-unreadable"), fleet.Alarm, "ring")
				n.WantHeld(t, "with a planted record", before[i])
			}
			f.CLI(t, "rotate-ticket").Want(t, 1)
			f.PlantRing(t, good)
			for _, n := range f.Nodes {
				n.AwaitNoProblem(t)
			}
		})
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	if s := f.Status(t); s.Epoch != 2 {
		t.Errorf("epoch = %d after one rotation, want 2", s.Epoch)
	}
}

func flipped(record []byte, at int) []byte {
	out := slices.Clone(record)
	out[at] ^= 1
	return out
}

func (f *Fleet) loadKeyring(t *testing.T) *seal.Keyring {
	t.Helper()
	k, err := seal.Load(f.keyring)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func anotherKeyring(t *testing.T) *seal.Keyring {
	t.Helper()
	k, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sealed is text as a record of epoch 2 for a fleet and a path.
func (*Fleet) sealed(t *testing.T, k *seal.Keyring, fleetName, path, text string) []byte {
	t.Helper()
	record, err := k.Seal(fleetName, path, 2, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return record
}

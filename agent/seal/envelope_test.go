package seal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tlsfleet/tlsfleet/agent/seal"
)

const (
	fleetName = "blue"
	ringPath  = "tlsfleet/blue/tickets/ring"
)

func sealed(tb testing.TB, k *seal.Keyring, epoch uint64, plain string) []byte {
	tb.Helper()
	b, err := k.Seal(fleetName, ringPath, epoch, []byte(plain))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestSealOpenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, err := seal.Generate(bytes.NewReader(rapid.SliceOfN(rapid.ByteMin(1), 32, 32).Draw(t, "key")))
		if err != nil {
			t.Fatal(err)
		}
		name, path := rapid.StringN(1, -1, 100).Draw(t, "fleet"), rapid.StringN(1, -1, 100).Draw(t, "path")
		plain, epoch := rapid.SliceOf(rapid.Byte()).Draw(t, "plain"), rapid.Uint64().Draw(t, "epoch")
		b, err := k.Seal(name, path, epoch, plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != len(plain)+seal.Overhead {
			t.Fatalf("len(Seal(%d bytes)) = %d, want %d", len(plain), len(b), len(plain)+seal.Overhead)
		}
		got, gotEpoch, err := k.Open(name, path, b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, plain) || gotEpoch != epoch {
			t.Fatalf("Open() = %x, %d, want %x, %d", got, gotEpoch, plain, epoch)
		}
	})
}

func TestEnvelopeLayout(t *testing.T) {
	k := fixed(t, 1, 1)
	a, b := sealed(t, k, 0x0102030405060708, "the plain text"), sealed(t, k, 0x0102030405060708, "the plain text")
	if string(a[:4]) != "tlsf" || a[4] != 1 {
		t.Errorf("envelope starts with %q, want \"tlsf\" and version 1", a[:5])
	}
	if got := binary.BigEndian.Uint64(a[9:]); got != 0x0102030405060708 {
		t.Errorf("epoch at 9 = %x, want 0102030405060708", got)
	}
	if bytes.Equal(a[17:41], b[17:41]) {
		t.Error("two envelopes have the same nonce")
	}
	if bytes.Contains(a, []byte("plain")) {
		t.Error("the plain text is in the envelope")
	}
}

func TestOpenRefusesTruncated(t *testing.T) {
	k := fixed(t, 1, 1)
	whole := sealed(t, k, 7, "some plain text")
	for n := range len(whole) {
		_, _, err := k.Open(fleetName, ringPath, whole[:n])
		if !errors.Is(err, seal.ErrFormat) && !errors.Is(err, seal.ErrForged) {
			t.Errorf("Open(first %d of %d bytes) = %v, want ErrFormat or ErrForged", n, len(whole), err)
		}
	}
	if _, _, err := k.Open(fleetName, ringPath, append(whole, 0)); !errors.Is(err, seal.ErrForged) {
		t.Errorf("Open(one byte more) = %v, want ErrForged", err)
	}
}

func TestOpenRefusesEveryFlippedBit(t *testing.T) {
	k := fixed(t, 1, 2)
	whole := sealed(t, k, 7, "some plain text")
	for bit := range 8 * len(whole) {
		broken := bytes.Clone(whole)
		broken[bit/8] ^= 1 << (bit % 8)
		want := seal.ErrForged
		switch {
		case bit < 5*8:
			want = seal.ErrFormat
		case bit < 9*8:
			want = seal.ErrUnknownKey
		}
		plain, epoch, err := k.Open(fleetName, ringPath, broken)
		if !errors.Is(err, want) || plain != nil || epoch != 0 {
			t.Errorf("Open(bit %d flipped) = %q, %d, %v, want %v", bit, plain, epoch, err, want)
		}
	}
}

func TestOpenRefusesRecordsFromElsewhere(t *testing.T) {
	k := fixed(t, 1, 2)
	here := sealed(t, k, 7, "text")
	epoch8 := bytes.Clone(here)
	binary.BigEndian.PutUint64(epoch8[9:], 8)
	otherKey := bytes.Clone(here)
	copy(otherKey[5:9], sealed(t, fixed(t, 2, 1), 7, "text")[5:9])
	tests := map[string]struct {
		keyring     *seal.Keyring
		fleet, path string
		record      []byte
		want        error
	}{
		"in its place":      {k, fleetName, ringPath, here, nil},
		"another path":      {k, fleetName, "tlsfleet/blue/nodes/a", here, seal.ErrForged},
		"path as long":      {k, fleetName, "tlsfleet/blue/tickets/rinG", here, seal.ErrForged},
		"another fleet":     {k, "green", ringPath, here, seal.ErrForged},
		"boundary moved":    {k, fleetName + "t", ringPath[1:], here, seal.ErrForged},
		"empty place":       {k, "", "", here, seal.ErrForged},
		"another epoch":     {k, fleetName, ringPath, epoch8, seal.ErrForged},
		"another key of it": {k, fleetName, ringPath, otherKey, seal.ErrForged},
		"wrong keyring":     {fixed(t, 9, 1), fleetName, ringPath, here, seal.ErrUnknownKey},
		"no keyring":        {new(seal.Keyring), fleetName, ringPath, here, seal.ErrKeyring},
		"never sealed":      {k, fleetName, ringPath, []byte(strings.Repeat(`{"schema":1}`, 9)), seal.ErrFormat},
		"empty":             {k, fleetName, ringPath, nil, seal.ErrFormat},
		"version 2":         {k, fleetName, ringPath, append([]byte("tlsf\x02"), here[5:]...), seal.ErrFormat},
		"too large":         {k, fleetName, ringPath, append(bytes.Clone(here), make([]byte, seal.MaxSealed)...), seal.ErrFormat},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := tt.keyring.Open(tt.fleet, tt.path, tt.record)
			if !errors.Is(err, tt.want) {
				t.Errorf("Open() = %v, want %v", err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), tt.path) {
				t.Errorf("Open() = %v, want the path in it", err)
			}
		})
	}
}

// TestPlaceCannotBeReadAnotherWay seals for a path that begins like the length
// of a shorter one.
func TestPlaceCannotBeReadAnotherWay(t *testing.T) {
	k := fixed(t, 1, 1)
	length := func(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }
	b, err := k.Seal("a", length(1)+"z", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Open("a"+length(9), "z", b); !errors.Is(err, seal.ErrForged) {
		t.Errorf("Open(fleet and path cut elsewhere) = %v, want ErrForged", err)
	}
}

func TestRotatedKeyring(t *testing.T) {
	old, added, swapped := fixed(t, 1, 1), rotated(t, 1, 2), rotated(t, 2, 1)
	for name, sealer := range map[string]*seal.Keyring{"added": added, "swapped": swapped} {
		b := sealed(t, sealer, 1, name)
		for _, opener := range []*seal.Keyring{added, swapped} {
			if got, _, err := opener.Open(fleetName, ringPath, b); err != nil || string(got) != name {
				t.Errorf("%v.Open(sealed by %v) = %q, %v, want %q", opener, sealer, got, err, name)
			}
		}
	}
	if _, _, err := old.Open(fleetName, ringPath, sealed(t, added, 1, "x")); err != nil {
		t.Errorf("Open(sealed by the first key, which did not change) = %v, want it open", err)
	}
	_, _, err := old.Open(fleetName, ringPath, sealed(t, swapped, 1, "x"))
	if !errors.Is(err, seal.ErrUnknownKey) || !strings.Contains(err.Error(), swapped.IDs()[0]) {
		t.Errorf("Open(sealed by a new first key) = %v, want ErrUnknownKey with %s", err, swapped.IDs()[0])
	}
}

// rotated is a keyring of two keys, in this order.
func rotated(tb testing.TB, first, second byte) *seal.Keyring {
	tb.Helper()
	k, err := seal.Parse([]byte(keyLine(tb, first) + keyLine(tb, second)))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestSealRefuses(t *testing.T) {
	k := fixed(t, 1, 1)
	if _, err := new(seal.Keyring).Seal(fleetName, ringPath, 1, nil); !errors.Is(err, seal.ErrKeyring) {
		t.Errorf("Seal() without keys = %v, want ErrKeyring", err)
	}
	if _, err := k.Seal("", ringPath, 1, nil); err == nil {
		t.Error("Seal() without a fleet = nil, want an error")
	}
	if _, err := k.Seal(fleetName, "", 1, nil); err == nil {
		t.Error("Seal() without a path = nil, want an error")
	}
	if _, err := k.Seal(fleetName, ringPath, 1, make([]byte, seal.MaxSealed-seal.Overhead+1)); !errors.Is(err, seal.ErrFormat) {
		t.Errorf("Seal(too large) = %v, want ErrFormat", err)
	}
	largest, err := k.Seal(fleetName, ringPath, math.MaxUint64, make([]byte, seal.MaxSealed-seal.Overhead))
	if err != nil || len(largest) != seal.MaxSealed {
		t.Fatalf("Seal(largest) = %d bytes, %v, want %d", len(largest), err, seal.MaxSealed)
	}
	if _, epoch, err := k.Open(fleetName, ringPath, largest); err != nil || epoch != math.MaxUint64 {
		t.Errorf("Open(largest) = epoch %d, %v, want %d", epoch, err, uint64(math.MaxUint64))
	}
}

func FuzzOpen(f *testing.F) {
	k := fixed(f, 1, 2)
	const plain = "the plain text"
	whole := sealed(f, k, 7, plain)
	f.Add([]byte{})
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(whole[:seal.Overhead])
	f.Add(append([]byte("tlsf\x02"), whole[5:]...))
	f.Add([]byte(`{"schema":1}`))
	f.Fuzz(func(t *testing.T, record []byte) {
		got, epoch, err := k.Open(fleetName, ringPath, record)
		switch {
		case err == nil:
			if string(got) != plain || epoch != 7 {
				t.Fatalf("Open(%x) = %q, %d: forged", record, got, epoch)
			}
		case !errors.Is(err, seal.ErrFormat) && !errors.Is(err, seal.ErrUnknownKey) && !errors.Is(err, seal.ErrForged):
			t.Fatalf("Open(%x) = %v, want one of the sentinels", record, err)
		}
	})
}

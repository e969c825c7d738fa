package bundle_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// small is a bundle that is no certificate: records do not look inside.
func small() bundle.Bundle {
	return bundle.Bundle{Leaf: []byte("leaf"), Key: fleet.NewSecret([]byte("key")), Chain: [][]byte{[]byte("a"), []byte("bc")}}
}

func encoded(tb testing.TB, b bundle.Bundle) []byte {
	tb.Helper()
	record, err := bundle.Encode(b)
	if err != nil {
		tb.Fatal(err)
	}
	return record
}

func encodedChain(tb testing.TB, chain [][]byte) []byte {
	tb.Helper()
	record, err := bundle.EncodeChain(chain)
	if err != nil {
		tb.Fatal(err)
	}
	return record
}

// TestRecordsAreCanonical has the bytes that older agents read and that hashes
// in KV are made of.
func TestRecordsAreCanonical(t *testing.T) {
	b := small()
	chainHash := "e2408eaf70838a6ac62de9e9c518db4e32fcf1c17c2d2a4648a2830f04e77e13"
	for what, tt := range map[string]struct{ got, want string }{
		"EncodeChain()": {hex.EncodeToString(encodedChain(t, b.Chain)), "01" + "00000001" + "61" + "00000002" + "6263"},
		"Encode()":      {hex.EncodeToString(encoded(t, b)), "01" + chainHash + "00000004" + "6c656166" + "00000003" + "6b6579"},
		"ChainHash()":   {bundle.ChainHash(b.Chain).String(), chainHash},
		"Hash()":        {bundle.Hash(b).String(), "90ad2decf3b4dbb656f0e9de2c832e2ac098e24343bd3aa5e9c913dbf94a7222"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %s, want %s: older agents know no other", what, tt.got, tt.want)
		}
	}
}

func TestRecordOfFamily(t *testing.T) {
	f := family(t)
	for name, b := range map[string]bundle.Bundle{"with chain": f.bundle(t), "without": bundleOf(t, f.leaf)} {
		record := encoded(t, b)
		hash, err := bundle.RecordChain(record)
		if err != nil || hash != bundle.ChainHash(b.Chain) || hash.IsZero() != (name == "without") {
			t.Errorf("RecordChain(%s) = %s, %v, want %s", name, hash, err, bundle.ChainHash(b.Chain))
		}
		got, err := bundle.Decode(record, b.Chain)
		if err != nil || !same(got, b) || bundle.Hash(got) != bundle.Hash(b) {
			t.Errorf("Decode(Encode(%s)) = %s, %v, want %s", name, subjects(got), err, subjects(b))
		}
	}
	chain := f.bundle(t).Chain
	got, err := bundle.DecodeChain(encodedChain(t, chain))
	if err != nil || bundle.ChainHash(got) != bundle.ChainHash(chain) {
		t.Errorf("DecodeChain(EncodeChain()) = %d certificates, %v, want %d", len(got), err, len(chain))
	}
}

func TestDecodeOwnsItsBytes(t *testing.T) {
	b := small()
	record, chainRecord := encoded(t, b), encodedChain(t, b.Chain)
	chain, err := bundle.DecodeChain(chainRecord)
	if err != nil {
		t.Fatal(err)
	}
	got, err := bundle.Decode(record, chain)
	if err != nil {
		t.Fatal(err)
	}
	clear(record)
	clear(chainRecord)
	if !same(got, b) {
		t.Errorf("Decode() = %q, changed with the record", got.Leaf)
	}
}

func TestEncodeRefuses(t *testing.T) {
	with := func(edit func(*bundle.Bundle)) bundle.Bundle {
		b := small()
		edit(&b)
		return b
	}
	tests := map[string]struct {
		b    bundle.Bundle
		want error
	}{
		"nothing":            {bundle.Bundle{}, bundle.ErrFormat},
		"no key":             {with(func(b *bundle.Bundle) { b.Key = fleet.Secret{} }), bundle.ErrKey},
		"huge key":           {with(func(b *bundle.Bundle) { b.Key = fleet.NewSecret(make([]byte, 8193)) }), bundle.ErrSize},
		"huge leaf":          {with(func(b *bundle.Bundle) { b.Leaf = make([]byte, bundle.MaxRecord-43) }), bundle.ErrSize},
		"empty issuer":       {with(func(b *bundle.Bundle) { b.Chain[1] = nil }), bundle.ErrChain},
		"11 issuers":         {with(func(b *bundle.Bundle) { b.Chain = chainOf(11, 1) }), bundle.ErrChain},
		"huge chain":         {with(func(b *bundle.Bundle) { b.Chain = chainOf(2, bundle.MaxChainRecord/2-4) }), bundle.ErrSize},
		"huge, 10 of issuer": {with(func(b *bundle.Bundle) { b.Chain = chainOf(10, 6550) }), bundle.ErrSize},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := bundle.Encode(tt.b)
			wantError(t, "Encode()", err, tt.want, "encode bundle: ")
			if tt.b.Leaf != nil && len(tt.b.Chain) > 2 {
				_, err := bundle.EncodeChain(tt.b.Chain)
				wantError(t, "EncodeChain()", err, tt.want, "encode chain: ")
			}
		})
	}
	_, err := bundle.EncodeChain(nil)
	wantError(t, "EncodeChain(nil)", err, bundle.ErrChain, "empty")
}

func chainOf(n, size int) [][]byte {
	var chain [][]byte
	for i := range n {
		chain = append(chain, bytes.Repeat([]byte{byte(i)}, size))
	}
	return chain
}

func TestLargestRecordsAreRead(t *testing.T) {
	b := bundle.Bundle{Leaf: make([]byte, bundle.MaxRecord-33-8-8192), Key: fleet.NewSecret(make([]byte, 8192)), Chain: chainOf(10, 6549)}
	record := encoded(t, b)
	if got, err := bundle.Decode(record, b.Chain); err != nil || !same(got, b) || len(record) != bundle.MaxRecord {
		t.Errorf("Decode(record of %d bytes) = %v, want the bundle and %d", len(record), err, bundle.MaxRecord)
	}
	if _, err := bundle.DecodeChain(encodedChain(t, b.Chain)); err != nil {
		t.Errorf("DecodeChain(largest) = %v, want nil", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	b := small()
	good := string(encoded(t, b))
	fields := good[33:]
	schema := func(c string) string { return c + good[1:] }
	tests := map[string]struct {
		record string
		want   error
		text   string
	}{
		"empty":           {"", bundle.ErrRecord, "no schema"},
		"schema 0":        {schema("\x00"), bundle.ErrRecord, "no schema"},
		"schema 2":        {schema("\x02"), bundle.ErrSchema, "schema 2, this tlsfleet reads 1: upgrade it"},
		"schema 2, alone": {"\x02", bundle.ErrSchema, "upgrade"},
		"other chain":     {good[:32] + "x" + fields, bundle.ErrRecord, "it needs the chain"},
		"no chain":        {"\x01" + strings.Repeat("\x00", 32) + fields, bundle.ErrRecord, "it needs the chain 0000"},
		"trailing byte":   {good + "x", bundle.ErrRecord, "more than 2 fields"},
		"third field":     {good + "\x00\x00\x00\x01x", bundle.ErrRecord, "more than 2 fields"},
		"no key":          {good[:41], bundle.ErrRecord, "no key"},
		"empty key":       {good[:41] + "\x00\x00\x00\x00", bundle.ErrRecord, "field of 0 bytes"},
		"empty leaf":      {good[:33] + "\x00\x00\x00\x00" + good[41:], bundle.ErrRecord, "field of 0 bytes"},
		"half a length":   {good[:43], bundle.ErrRecord, "within a length"},
		"length too long": {good[:41] + "\x00\x00\x00\x04key", bundle.ErrRecord, "field of 4 bytes, 3 are left"},
		"huge length":     {good[:41] + "\xff\xff\xff\xffkey", bundle.ErrRecord, "field of 4294967295 bytes"},
		"huge key":        {good[:41] + "\x00\x00\x20\x01" + strings.Repeat("k", 8193), bundle.ErrRecord, "8193 bytes"},
		"too large":       {good + strings.Repeat("x", bundle.MaxRecord), bundle.ErrRecord, "at most 262144"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := bundle.Decode([]byte(tt.record), b.Chain)
			wantError(t, "Decode()", err, tt.want, tt.text)
			if !same(got, bundle.Bundle{}) {
				t.Errorf("Decode() = %q, want nothing", got.Leaf)
			}
		})
	}
	if _, err := bundle.Decode([]byte(good), nil); !errors.Is(err, bundle.ErrRecord) {
		t.Errorf("Decode(no chain) = %v, want ErrRecord", err)
	}
	if _, err := bundle.Decode([]byte(good), b.Chain[:1]); !errors.Is(err, bundle.ErrRecord) {
		t.Errorf("Decode(part of the chain) = %v, want ErrRecord", err)
	}
}

// TestDecodeRefusesEveryCut takes records at every length but the whole one.
func TestDecodeRefusesEveryCut(t *testing.T) {
	b := family(t).bundle(t)
	record, chain := encoded(t, b), encodedChain(t, b.Chain)
	ends := map[int]bool{1 + 4 + len(b.Chain[0]): true} // a chain that is one certificate shorter
	for n := range record {
		if _, err := bundle.Decode(record[:n], b.Chain); !errors.Is(err, bundle.ErrRecord) {
			t.Fatalf("Decode(first %d bytes) = %v, want ErrRecord", n, err)
		}
		if _, err := bundle.RecordChain(record[:n]); !errors.Is(err, bundle.ErrRecord) {
			t.Fatalf("RecordChain(first %d bytes) = %v, want ErrRecord", n, err)
		}
	}
	for n := range chain {
		got, err := bundle.DecodeChain(chain[:n])
		if ends[n] && bundle.ChainHash(got) == bundle.ChainHash(b.Chain) || !ends[n] && !errors.Is(err, bundle.ErrRecord) {
			t.Fatalf("DecodeChain(first %d bytes) = %d certificates, %v, want ErrRecord", n, len(got), err)
		}
	}
}

func TestDecodeChainRefuses(t *testing.T) {
	good := string(encodedChain(t, small().Chain))
	for name, tt := range map[string]struct {
		record string
		want   error
	}{
		"empty":      {"", bundle.ErrRecord},
		"no issuers": {"\x01", bundle.ErrRecord},
		"schema 0":   {"\x00" + good[1:], bundle.ErrRecord},
		"schema 2":   {"\x02" + good[1:], bundle.ErrSchema},
		"trailing":   {good + "x", bundle.ErrRecord},
		"11 issuers": {"\x01" + strings.Repeat("\x00\x00\x00\x01x", 11), bundle.ErrRecord},
		"too large":  {"\x01\x00\x00\xff\xff" + strings.Repeat("x", 65535), bundle.ErrRecord},
	} {
		if got, err := bundle.DecodeChain([]byte(tt.record)); !errors.Is(err, tt.want) || got != nil {
			t.Errorf("DecodeChain(%s) = %d certificates, %v, want %v", name, len(got), err, tt.want)
		}
	}
}

// drawn is any bundle that has a record.
func drawn(t *rapid.T) bundle.Bundle {
	der := rapid.SliceOfN(rapid.Byte(), 1, 60)
	b := bundle.Bundle{Leaf: der.Draw(t, "leaf"), Key: fleet.NewSecret(der.Draw(t, "key"))}
	b.Chain = rapid.SliceOfN(der, 0, bundle.MaxChain).Draw(t, "chain")
	return b
}

func TestDifferentBundlesHaveDifferentHashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawn(t)
		b := bundle.Bundle{Leaf: a.Leaf, Key: a.Key, Chain: a.Chain}
		key := a.Key.Reveal()
		switch rapid.IntRange(0, 5).Draw(t, "change") {
		case 0:
			b.Leaf = append(bytes.Clone(a.Leaf), 0)
		case 1:
			b.Key = fleet.NewSecret(append(key, 0))
		case 2: // a byte moves from the leaf to the key
			b.Leaf, b.Key = a.Leaf[:len(a.Leaf)-1], fleet.NewSecret(append([]byte{a.Leaf[len(a.Leaf)-1]}, key...))
		case 3:
			b.Chain = append([][]byte{a.Leaf}, a.Chain...)
		case 4: // two issuers run into one
			if len(a.Chain) < 2 {
				return
			}
			b.Chain = append([][]byte{append(bytes.Clone(a.Chain[0]), a.Chain[1]...)}, a.Chain[2:]...)
		case 5:
			b.Leaf, b.Key = key, fleet.NewSecret(a.Leaf)
		}
		if same(a, b) != (bundle.Hash(a) == bundle.Hash(b)) {
			t.Fatalf("Hash() = %s and %s, same bundle: %t", bundle.Hash(a), bundle.Hash(b), same(a, b))
		}
	})
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawn(t)
		record, err := bundle.Encode(b)
		if err != nil {
			t.Fatal(err)
		}
		var chain [][]byte
		if len(b.Chain) > 0 {
			chainRecord, err := bundle.EncodeChain(b.Chain)
			if err != nil {
				t.Fatal(err)
			}
			if chain, err = bundle.DecodeChain(chainRecord); err != nil {
				t.Fatal(err)
			}
		}
		got, err := bundle.Decode(record, chain)
		if err != nil || !same(got, b) {
			t.Fatalf("Decode(Encode(b)) = %x, %v, want %x", got.Leaf, err, b.Leaf)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, b := range []bundle.Bundle{small(), family(f).bundle(f), {Leaf: []byte("l"), Key: fleet.NewSecret([]byte("k"))}} {
		record := encoded(f, b)
		chain := []byte(nil)
		if len(b.Chain) > 0 {
			chain = encodedChain(f, b.Chain)
		}
		f.Add(record, chain)
		f.Add(record[:len(record)/2], chain)
		f.Add(append(record, 0), append(chain, 0))
	}
	f.Add([]byte("\x02"), []byte("\x02"))
	f.Fuzz(func(t *testing.T, record, chainRecord []byte) {
		chain, err := bundle.DecodeChain(chainRecord)
		if err == nil {
			if again := encodedChain(t, chain); !bytes.Equal(again, chainRecord) {
				t.Fatalf("EncodeChain(DecodeChain(%x)) = %x", chainRecord, again)
			}
		} else if !errors.Is(err, bundle.ErrRecord) && !errors.Is(err, bundle.ErrSchema) {
			t.Fatalf("DecodeChain(%x) = %v, want ErrRecord or ErrSchema", chainRecord, err)
		}
		b, err := bundle.Decode(record, chain)
		if err != nil {
			if errors.Is(err, bundle.ErrRecord) == errors.Is(err, bundle.ErrSchema) {
				t.Fatalf("Decode(%x) = %v, want either ErrRecord or ErrSchema", record, err)
			}
			return
		}
		if again := encoded(t, b); !bytes.Equal(again, record) {
			t.Fatalf("Encode(Decode(%x)) = %x", record, again)
		}
	})
}

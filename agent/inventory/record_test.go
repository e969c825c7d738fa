package inventory_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

// fullHead has shards of all ages.
func fullHead(tb testing.TB) inventory.Head {
	tb.Helper()
	var h inventory.Head
	for i := range uint64(300) {
		h = with(tb, h, int(i*37%inventory.Shards), 1+i*i*i, int(i))
	}
	return h
}

func TestEncodeDecodeShardRoundTrip(t *testing.T) {
	names := namesOf(number, 3)
	gone := remove(t, shardOf(t, names...), 2, day, names...)
	last := fullShard(t)
	last.Epoch = inventory.MaxEpoch
	for name, s := range map[string]inventory.Shard{
		"no entry": {Number: 0, Epoch: 1}, "one": shardOf(t, names[0]), "full": fullShard(t), "tombstones": gone, "last epoch": last,
	} {
		t.Run(name, func(t *testing.T) {
			b := encoded(t, s)
			got, err := inventory.DecodeShard(s.Number, b)
			if err != nil || !reflect.DeepEqual(got, s) {
				t.Fatalf("DecodeShard(EncodeShard(s)) = %+v, %v, want %+v", got, err, s)
			}
			if !bytes.Equal(encoded(t, got), b) {
				t.Error("EncodeShard(DecodeShard(b)) differs from b")
			}
		})
	}
}

func TestEncodeDecodeHeadRoundTrip(t *testing.T) {
	last := fullHead(t)
	last.Epoch = inventory.MaxEpoch
	last.Shards[0] = inventory.MaxEpoch
	for name, h := range map[string]inventory.Head{
		"first": with(t, inventory.Head{}, 0, 1, 1), "full": fullHead(t), "last epoch": last, "no shard": {Epoch: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := encodedHead(t, h)
			got, err := inventory.DecodeHead(b)
			if err != nil || got != h {
				t.Fatalf("DecodeHead(EncodeHead(h)) = %+v, %v, want %+v", got, err, h)
			}
		})
	}
}

// TestRecordsAreFixed pins the bytes: other agents cannot read another form.
func TestRecordsAreFixed(t *testing.T) {
	names := namesOf(number, 2)
	s := remove(t, shardOf(t, names...), 2, day, names[1])
	head := encodedHead(t, with(t, with(t, inventory.Head{}, 0, 1, 1), 5, 200, 1))
	for name, tt := range map[string]struct {
		b    []byte
		want string
	}{
		"shard":             {encoded(t, s), "73018f0a10112116707d93d7556c7543a47e62fbe07d93d75571646c01a690a9000e043052313103000076a700034c070deac2b26ff31f36dc8b30fec3a64c11b70e50603afe2c33717a235da69d"},
		"start of the head": {head[:24], "6801211088e3f2391c8e440391c8e472391c8e472391c8e4"},
	} {
		if got := hex.EncodeToString(tt.b); got != tt.want {
			t.Errorf("%s = %s, want %s", name, got, tt.want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	names := namesOf(number, 3)
	a, b := entry(names[0]), entry(names[1])
	entries := func(es ...fleet.Entry) inventory.Shard {
		return inventory.Shard{Number: number, Epoch: 1, Entries: es}
	}
	zoned, long, tombstone := a, a, fleet.Entry{Name: names[2], Removed: true, Changed: day}
	withIssuer, withSource, withBundle, withEnd := tombstone, tombstone, tombstone, tombstone
	withIssuer.Issuer, withSource.Source, withBundle.Bundle, withEnd.NotAfter = "x", fleet.SourceACME, a.Bundle, day
	zoned.NotAfter = zoned.NotAfter.Local()
	long.Issuer = strings.Repeat("x", 129)
	tests := map[string]struct {
		shard inventory.Shard
		want  error
	}{
		"zero shard":       {inventory.Shard{}, inventory.ErrEpoch},
		"number too high":  {inventory.Shard{Number: inventory.Shards, Epoch: 1}, inventory.ErrEntry},
		"number too low":   {inventory.Shard{Number: -1, Epoch: 1}, inventory.ErrEntry},
		"epoch too high":   {inventory.Shard{Epoch: inventory.MaxEpoch + 1}, inventory.ErrEpoch},
		"unsorted":         {entries(b, a), inventory.ErrEntry},
		"twice":            {entries(a, a), inventory.ErrEntry},
		"of another shard": {inventory.Shard{Number: number + 1, Epoch: 1, Entries: []fleet.Entry{a}}, inventory.ErrEntry},
		"other zone":       {entries(zoned), inventory.ErrEntry},
		"long issuer":      {entries(long), inventory.ErrEntry},
		"issuer of none":   {entries(withIssuer), inventory.ErrEntry},
		"source of none":   {entries(withSource), inventory.ErrEntry},
		"bundle of none":   {entries(withBundle), inventory.ErrEntry},
		"end of none":      {entries(withEnd), inventory.ErrEntry},
		"too many":         {entries(slices.Repeat([]fleet.Entry{a}, inventory.MaxEntries+1)...), inventory.ErrEntry},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := inventory.EncodeShard(tt.shard)
			wantError(t, "EncodeShard()", err, tt.want, "encode shard")
			if got != nil {
				t.Errorf("EncodeShard() = %d bytes with an error, want none", len(got))
			}
		})
	}
	newer := inventory.Head{Epoch: 1}
	newer.Shards[9] = 2
	for name, h := range map[string]inventory.Head{
		"zero head": {}, "newer shard": newer, "names of no shard": {Epoch: 1, Names: 1}, "negative": {Epoch: 1, Names: -1}, "epoch too high": {Epoch: inventory.MaxEpoch + 1},
	} {
		if _, err := inventory.EncodeHead(h); !errors.Is(err, inventory.ErrHead) {
			t.Errorf("EncodeHead(%s) = %v, want ErrHead", name, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	shard, head := encoded(t, fullShard(t)), encodedHead(t, fullHead(t))
	other := func(b []byte, i int, v byte) []byte {
		b = bytes.Clone(b)
		b[i] = v
		return b
	}
	tests := map[string]struct {
		bytes []byte
		want  error
		text  string
	}{
		"empty":         {nil, inventory.ErrRecord, "begin"},
		"one byte":      {shard[:1], inventory.ErrRecord, "begin"},
		"other kind":    {head, inventory.ErrRecord, "begin"},
		"JSON":          {[]byte(`{"schema":1}`), inventory.ErrRecord, "begin"},
		"schema 0":      {other(shard, 1, 0), inventory.ErrRecord, "no schema"},
		"schema 2":      {other(shard, 1, 2), inventory.ErrSchema, "upgrade"},
		"schema 255":    {other(shard, 1, 255), inventory.ErrSchema, "schema 255"},
		"trailing zero": {append(bytes.Clone(shard), 0), inventory.ErrRecord, "canonical"},
		"twice":         {slices.Concat(shard, shard), inventory.ErrRecord, "canonical"},
		"too large":     {append(bytes.Clone(shard), make([]byte, inventory.MaxRecord)...), inventory.ErrRecord, "at most"},
		"zeros":         {append([]byte{shard[0], 1}, make([]byte, 1000)...), inventory.ErrRecord, "damaged"},
		"ones":          {append([]byte{shard[0], 1}, bytes.Repeat([]byte{255}, 1000)...), inventory.ErrRecord, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := inventory.DecodeShard(number, tt.bytes)
			wantError(t, "DecodeShard()", err, tt.want, tt.text)
			if errors.Is(err, inventory.ErrSchema) == errors.Is(err, inventory.ErrRecord) || got.Epoch != 0 {
				t.Errorf("DecodeShard() = epoch %d, %v, want no shard and either ErrSchema or ErrRecord", got.Epoch, err)
			}
			if len(tt.bytes) < 2 {
				return
			}
			mine := other(tt.bytes, 0, head[0])
			if bytes.Equal(mine, head) {
				mine[0] = shard[0]
			}
			if _, err := inventory.DecodeHead(mine); !errors.Is(err, inventory.ErrRecord) && !errors.Is(err, inventory.ErrSchema) {
				t.Errorf("DecodeHead() = %v, want ErrRecord or ErrSchema", err)
			}
		})
	}
}

// TestDecodeShardRefusesAnotherNumber: a shard put in the place of another.
func TestDecodeShardRefusesAnotherNumber(t *testing.T) {
	_, err := inventory.DecodeShard(number+1, encoded(t, fullShard(t)))
	wantError(t, "DecodeShard(other place)", err, inventory.ErrRecord, "it is shard 7")
	_, err = inventory.DecodeShard(number, encoded(t, inventory.Shard{Number: number + 1, Epoch: 1}))
	wantError(t, "DecodeShard(empty shard)", err, inventory.ErrRecord, "it is shard 8")
}

func TestDecodeRefusesEveryCut(t *testing.T) {
	shard, head := encoded(t, fullShard(t)), encodedHead(t, fullHead(t))
	for n := range len(shard) {
		if _, err := inventory.DecodeShard(number, shard[:n]); !errors.Is(err, inventory.ErrRecord) {
			t.Fatalf("DecodeShard(first %d bytes) = %v, want ErrRecord", n, err)
		}
	}
	for n := range len(head) {
		if _, err := inventory.DecodeHead(head[:n]); !errors.Is(err, inventory.ErrRecord) {
			t.Fatalf("DecodeHead(first %d bytes) = %v, want ErrRecord", n, err)
		}
	}
}

// TestDecodeSurvivesFlips: what a flipped bit leaves readable is another
// record in its one form.
func TestDecodeSurvivesFlips(t *testing.T) {
	shard, head := encoded(t, fullShard(t)), encodedHead(t, fullHead(t))
	for bit := range 8 * len(shard) {
		shard[bit/8] ^= 1 << (bit % 8)
		checkShardBytes(t, shard)
		shard[bit/8] ^= 1 << (bit % 8)
	}
	for bit := 0; bit < 8*len(head); bit += 7 {
		head[bit/8] ^= 1 << (bit % 8)
		checkHeadBytes(t, head)
		head[bit/8] ^= 1 << (bit % 8)
	}
}

func checkShardBytes(t *testing.T, b []byte) {
	s, err := inventory.DecodeShard(number, b)
	if err != nil {
		if !errors.Is(err, inventory.ErrRecord) && !errors.Is(err, inventory.ErrSchema) {
			t.Fatalf("DecodeShard(%x) = %v, want ErrRecord or ErrSchema", b, err)
		}
		return
	}
	if err := inventory.Validate(s); err != nil || s.Number != number {
		t.Fatalf("DecodeShard(%x) = shard %d that is refused: %v", b, s.Number, err)
	}
	if again := encoded(t, s); !bytes.Equal(again, b) {
		t.Fatalf("EncodeShard(DecodeShard(%x)) = %x", b, again)
	}
}

func checkHeadBytes(t *testing.T, b []byte) {
	h, err := inventory.DecodeHead(b)
	if err != nil {
		if !errors.Is(err, inventory.ErrRecord) && !errors.Is(err, inventory.ErrSchema) {
			t.Fatalf("DecodeHead(%x) = %v, want ErrRecord or ErrSchema", b, err)
		}
		return
	}
	if again := encodedHead(t, h); !bytes.Equal(again, b) {
		t.Fatalf("EncodeHead(DecodeHead(%x)) = %x", b, again)
	}
}

func FuzzDecodeShard(f *testing.F) {
	for _, s := range []inventory.Shard{{Number: number, Epoch: 1}, shardOf(f, namesOf(number, 2)...), fullShard(f)} {
		b := encoded(f, s)
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append(b, 0))
	}
	f.Add([]byte{'s', 2})
	f.Fuzz(func(t *testing.T, b []byte) { checkShardBytes(t, b) })
}

func FuzzDecodeHead(f *testing.F) {
	for _, h := range []inventory.Head{{Epoch: 1}, fullHead(f)} {
		b := encodedHead(f, h)
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append(b, 0))
	}
	f.Add([]byte{'h', 2})
	f.Fuzz(func(t *testing.T, b []byte) { checkHeadBytes(t, b) })
}

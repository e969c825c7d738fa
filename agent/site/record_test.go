package site

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestRecord(t *testing.T) {
	for _, s := range parse(t, full+least) {
		b, err := Encode(s, 7)
		if err != nil {
			t.Fatal(err)
		}
		got, epoch, err := Decode(b)
		if err != nil || epoch != 7 || !reflect.DeepEqual(got, s) {
			t.Errorf("Decode(%s) = %+v, %d, %v, want %+v", b, got, epoch, err, s)
		}
		for n := range b {
			if _, _, err := Decode(b[:n]); err == nil {
				t.Fatalf("Decode() of %d bytes of %d = nil, want an error", n, len(b))
			}
		}
	}
}

func TestRecordIsRefusedWhole(t *testing.T) {
	good, err := Encode(parse(t, least)[0], 1)
	if err != nil {
		t.Fatal(err)
	}
	change := func(from, to string) []byte { return []byte(strings.Replace(string(good), from, to, 1)) }
	tests := map[string]struct {
		b    []byte
		want error
	}{
		"none":             {nil, ErrRecord},
		"future schema":    {change(`"schema":1`, `"schema":2,"new":{}`), ErrSchema},
		"no schema":        {change(`"schema":1,`, ``), ErrRecord},
		"unknown field":    {change(`"http2"`, `"http3":true,"http2"`), ErrRecord},
		"another case":     {change(`"http2"`, `"HTTP2"`), ErrRecord},
		"twice":            {change(`"http2"`, `"http2":false,"http2"`), ErrRecord},
		"space":            {append(bytes.Clone(good), ' '), ErrRecord},
		"more after it":    {append(bytes.Clone(good), good...), ErrRecord},
		"epoch 0":          {change(`"epoch":1`, `"epoch":0`), ErrRecord},
		"epoch out of all": {change(`"epoch":1`, `"epoch":18446744073709551615`), ErrRecord},
		"ID is a path":     {change(`"id":"blog"`, `"id":"../blog"`), ErrRecord},
		"invalid site":     {change(`blog.test`, `blog.test;`), ErrRecord},
		"snippet":          {change(`"backends"`, `"snippets":["../x"],"backends"`), ErrRecord},
		"512 KB":           {append(bytes.Clone(good), make([]byte, 512<<10)...), ErrRecord},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if s, _, err := Decode(tt.b); !errors.Is(err, tt.want) || s.ID != "" {
				t.Errorf("Decode(%.300s) = %+v, %v, want %v", tt.b, s, err, tt.want)
			}
		})
	}
}

func TestRecordIsBounded(t *testing.T) {
	s := parse(t, least)[0]
	s.Backends = Backends{Method: RoundRobin}
	for i := range MaxAddresses {
		s.Backends.Addresses = append(s.Backends.Addresses, Backend{fmt.Sprintf("unix:/run/%085d.sock", i), 1, false})
	}
	for i := range MaxNames {
		s.ServerNames = append(s.ServerNames, fmt.Sprintf("%s.%s.%s.n%d.test", strings.Repeat("a", 63), strings.Repeat("a", 63), strings.Repeat("a", 63), i))
	}
	s.ServerNames = s.ServerNames[1:]
	if _, err := Encode(s, 1); !errors.Is(err, ErrSite) || !strings.Contains(err.Error(), "split the site") {
		t.Errorf("Encode() of a large site = %v, want that it is too large", err)
	}
}

func TestHead(t *testing.T) {
	hash := HashOf([]byte("x"))
	h, err := Head{}.With(map[string]fleet.Hash{"b": hash, "a": hash})
	if err != nil {
		t.Fatal(err)
	}
	next, err := h.With(map[string]fleet.Hash{"a": {}, "c": hash})
	if err != nil {
		t.Fatal(err)
	}
	want := Head{Epoch: 2, Sites: []Entry{{"a", 2, fleet.Hash{}}, {"b", 1, hash}, {"c", 2, hash}}}
	if !reflect.DeepEqual(next, want) {
		t.Errorf("With() = %+v, want %+v", next, want)
	}
	if got := Changed(h, next); !reflect.DeepEqual(got, []Entry{want.Sites[0], want.Sites[2]}) {
		t.Errorf("Changed() = %+v", got)
	}
	if got := Regressed(next, h); !reflect.DeepEqual(got, []string{"a", "c"}) {
		t.Errorf("Regressed() = %v, want a and c", got)
	}
	if got := Regressed(h, next); got != nil {
		t.Errorf("Regressed() = %v, want none", got)
	}
	if got := next.Live(); !reflect.DeepEqual(got, []string{"b", "c"}) {
		t.Errorf("Live() = %v", got)
	}
	b, err := EncodeHead(next)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeHead(b); err != nil || !reflect.DeepEqual(got, next) {
		t.Errorf("DecodeHead() = %+v, %v, want %+v", got, err, next)
	}
	for n := range b {
		if _, err := DecodeHead(b[:n]); !errors.Is(err, ErrRecord) {
			t.Fatalf("DecodeHead() of %d bytes = %v, want %v", n, err, ErrRecord)
		}
	}
	atOnce := next
	atOnce.Now = 1
	if b, err := EncodeHead(atOnce); err != nil {
		t.Fatal(err)
	} else if got, err := DecodeHead(b); err != nil || !reflect.DeepEqual(got, atOnce) {
		t.Errorf("DecodeHead() = %+v, %v, want %+v", got, err, atOnce)
	}
	atOnce.Now = 3
	if _, err := EncodeHead(atOnce); !errors.Is(err, ErrHead) {
		t.Errorf("EncodeHead() of an epoch at once that is none = %v, want %v", err, ErrHead)
	}
	newer := bytes.Clone(b)
	newer[1] = 2
	if _, err := DecodeHead(newer); !errors.Is(err, ErrSchema) {
		t.Errorf("DecodeHead() of a newer schema = %v, want %v", err, ErrSchema)
	}
	for name, b := range map[string][]byte{"more": append(bytes.Clone(b), 0), "many": {kindHead, 1, 1, 0xff, 0xff, 0x7f}, "512 KB": make([]byte, 512<<10)} {
		if _, err := DecodeHead(b); !errors.Is(err, ErrRecord) {
			t.Errorf("DecodeHead() of %s = %v, want %v", name, err, ErrRecord)
		}
	}
}

// TestHeadIsBounded: the fullest head can be written, and removing goes on for
// ever.
func TestHeadIsBounded(t *testing.T) {
	all := map[string]fleet.Hash{}
	for i := range MaxSites {
		all[fmt.Sprintf("%063d", i)] = HashOf(nil)
	}
	h, err := Head{Epoch: MaxEpoch / 2}.With(all)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.With(map[string]fleet.Hash{"one-more": HashOf(nil)}); !errors.Is(err, ErrHead) {
		t.Errorf("With() one more than %d = %v, want %v", MaxSites, err, ErrHead)
	}
	for i := range MaxTombstones + 3 {
		id := fmt.Sprintf("x%062d", i)
		if h, err = h.With(map[string]fleet.Hash{id: {}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := h.Find(fmt.Sprintf("x%062d", 2)); ok {
		t.Error("Find() the third tombstone = true, want it forgotten")
	}
	if _, ok := h.Find(fmt.Sprintf("x%062d", 3)); !ok {
		t.Error("Find() the fourth tombstone = false, want it kept")
	}
	b, err := EncodeHead(h)
	if err != nil || len(b) > MaxHead {
		t.Errorf("EncodeHead() = %d bytes, %v, want at most %d", len(b), err, MaxHead)
	}
	if got, err := DecodeHead(b); err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("DecodeHead() = %v, want what was written", err)
	}
}

func FuzzDecode(f *testing.F) {
	b, err := Encode(parse(f, full)[0], 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	h, err := Head{}.With(map[string]fleet.Hash{"a": HashOf(b), "b": {}})
	if err != nil {
		f.Fatal(err)
	}
	if b, err = EncodeHead(h); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, epoch, err := Decode(b); err == nil {
			if again, err := Encode(s, epoch); err != nil || !bytes.Equal(again, b) {
				t.Errorf("Encode() = %s, %v, want %s", again, err, b)
			}
		}
		if h, err := DecodeHead(b); err == nil {
			if again, err := EncodeHead(h); err != nil || !bytes.Equal(again, b) {
				t.Errorf("EncodeHead() = %x, %v, want %x", again, err, b)
			}
		}
	})
}

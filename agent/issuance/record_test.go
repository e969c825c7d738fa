package issuance

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// items are one of each state.
func items(tb testing.TB) map[string]Item {
	tb.Helper()
	done := issued(tb, 90, "a.test", "*.b.test")
	w, _ := Suggest(t0.AddDate(0, 0, 50), t0.AddDate(0, 0, 60), nil, 0, 0.5, t0)
	failed := Failure{Class: RateLimited, Stage: StageOrder, CA: "le", Type: "rateLimited", Status: 429, Detail: "too many\n\"ü\"", RetryAfter: time.Hour}
	waiting := must(tb)(ordering(tb, "a.test").Fail(failed, 0.3, t0))
	parked := must(tb)(ordering(tb, "a.test").Fail(Failure{Class: Hopeless, Stage: StageValidate, CA: "le"}, 0, t0))
	return map[string]Item{
		"wanted": item(tb, "a.test"), "ordering": ordering(tb, "a.test"), "issued": done,
		"placed":     must(tb)(ordering(tb, "a.test").Placed("https://ca.test/1", t0)),
		"window":     must(tb)(done.Renew(&w, w.Chosen)),
		"renewing":   must(tb)(done.Begin(done.Next)),
		"waiting":    waiting,
		"parked":     parked,
		"comes back": must(tb)(parked.Reconsider(t0)),
		"preflight":  must(tb)(item(tb, "a.test").Begin(t0)),
		"other life": must(tb)(New([]string{"a.test"}, "customer 7", "shortlived", t0)),
	}
}

func TestRecordsRoundTrip(t *testing.T) {
	for name, it := range items(t) {
		b, err := Encode(it)
		if err != nil {
			t.Fatalf("Encode() of %s: %v", name, err)
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatalf("Decode() of %s: %v", name, err)
		}
		if again, err := Encode(got); err != nil || !bytes.Equal(again, b) {
			t.Errorf("Encode() of %s again = %s, %v, want %s", name, again, err, b)
		}
		if it.Order == nil && !reflect.DeepEqual(got, it) {
			t.Errorf("Decode() of %s = %+v, want %+v", name, got, it)
		}
		if it.Order != nil && !got.Order.Key.Equal(it.Order.Key) {
			t.Errorf("Decode() of %s has another key", name)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := Encode(items(t)["waiting"])
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, with string) []byte {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("the record has no %s: %s", old, good)
		}
		return bytes.Replace(good, []byte(old), []byte(with), 1)
	}
	tests := map[string]struct {
		bytes []byte
		err   error
	}{
		"empty":           {nil, ErrRecord},
		"no schema":       {[]byte("{}"), ErrRecord},
		"newer schema":    {replace(`"schema":1`, `"schema":2`), ErrSchema},
		"unknown field":   {replace(`"schema":1`, `"schema":1,"x":1`), ErrRecord},
		"space":           {replace(`"schema":1`, `"schema": 1`), ErrRecord},
		"trailing":        {append(bytes.Clone(good), '\n'), ErrRecord},
		"unknown state":   {replace(`"state":"waiting"`, `"state":"lost"`), ErrRecord},
		"other state":     {replace(`"state":"waiting"`, `"state":"issued"`), ErrRecord},
		"no next":         {replace(`"next":`, `"next":0,"x":`), ErrRecord},
		"bad name":        {replace(`"a.test"`, `"../a"`), ErrRecord},
		"unknown class":   {replace(`"rate-limited"`, `"limited"`), ErrRecord},
		"negative count":  {replace(`"failure":`, `"failures":-1,"failure":`), ErrRecord},
		"too many bytes":  {bytes.Repeat([]byte(" "), maxRecord+1), ErrRecord},
		"detail too long": {replace("too many", strings.Repeat("x", maxDetail+1)), ErrRecord},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := Decode(tt.bytes); !errors.Is(err, tt.err) {
				t.Errorf("Decode() = %v, want %v", err, tt.err)
			}
		})
	}
	for n := range good {
		if _, err := Decode(good[:n]); !errors.Is(err, ErrRecord) {
			t.Errorf("Decode() of the first %d bytes = %v, want %v", n, err, ErrRecord)
		}
	}
}

func TestFailBoundsWhatTheCASent(t *testing.T) {
	f := Failure{Class: CADown, Stage: StageOrder, CA: "le", Type: "a\nb", Detail: strings.Repeat("ü", 5000) + "\xff"}
	it := must(t)(ordering(t, "a.test").Fail(f, 0, t0))
	if last := it.Failed.Last; len(last.Detail) > maxDetail || last.Type != "a?b" {
		t.Errorf("Fail() keeps %d bytes and the type %q, want at most %d and a?b", len(last.Detail), last.Type, maxDetail)
	}
	if _, err := Encode(it); err != nil {
		t.Errorf("Encode() = %v", err)
	}
}

func TestRequests(t *testing.T) {
	good := Request{At: t0, By: "ops@host", Do: Add, Wishes: []Wish{{Names: []string{"a.test", "b.test"}, Group: "7"}}}
	b, err := EncodeRequest(good)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeRequest(b); err != nil || !reflect.DeepEqual(got, good) {
		t.Errorf("DecodeRequest() = %+v, %v, want %+v", got, err, good)
	}
	bad := map[string]func(*Request){
		"verb":     func(r *Request) { r.Do = "burn" },
		"nothing":  func(r *Request) { r.Wishes = nil },
		"name":     func(r *Request) { r.Wishes = []Wish{{Names: []string{"$host"}}} },
		"unsorted": func(r *Request) { r.Wishes = []Wish{{Names: []string{"b.test", "a.test"}}} },
		"by":       func(r *Request) { r.By = "a\nb" },
		"time":     func(r *Request) { r.At = time.Time{} },
		"too many": func(r *Request) { r.Wishes = make([]Wish, MaxWishes+1) },
	}
	for name, spoil := range bad {
		r := good
		spoil(&r)
		if _, err := EncodeRequest(r); err == nil {
			t.Errorf("EncodeRequest() with a bad %s = nil, want an error", name)
		}
	}
	for n := range b {
		if _, err := DecodeRequest(b[:n]); !errors.Is(err, ErrRecord) {
			t.Errorf("DecodeRequest() of the first %d bytes = %v, want %v", n, err, ErrRecord)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, it := range items(f) {
		b, err := Encode(it)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		it, err := Decode(b)
		if err != nil {
			return
		}
		if again, err := Encode(it); err != nil || !bytes.Equal(again, b) {
			t.Errorf("Encode(Decode(%q)) = %q, %v", b, again, err)
		}
	})
}

func FuzzDecodeRequest(f *testing.F) {
	b, err := EncodeRequest(Request{At: t0, By: "ops", Do: Retry, Wishes: []Wish{{Names: []string{"a.test"}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRequest(b)
		if err != nil {
			return
		}
		if again, err := EncodeRequest(r); err != nil || !bytes.Equal(again, b) {
			t.Errorf("EncodeRequest(DecodeRequest(%q)) = %q, %v", b, again, err)
		}
	})
}

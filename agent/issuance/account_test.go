package issuance

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestAccountsRoundTrip(t *testing.T) {
	a := Account{Key: fleet.NewSecret([]byte("key"))}.With("https://ca.test/dir", "https://ca.test/acct/1")
	a = a.With("https://other.test/dir", "https://other.test/acct/9")
	b, err := EncodeAccount(a)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeAccount(b)
	if err != nil || !got.Key.Equal(a.Key) || !maps.Equal(got.URLs, a.URLs) {
		t.Errorf("DecodeAccount() = %v, %v, want %v", got, err, a)
	}
	for n := range b {
		if _, err := DecodeAccount(b[:n]); !errors.Is(err, ErrRecord) {
			t.Errorf("DecodeAccount() of the first %d bytes = %v, want %v", n, err, ErrRecord)
		}
	}
	for name, bad := range map[string]Account{
		"no key": {}, "large key": {Key: fleet.NewSecret(make([]byte, maxKey+1))},
		"no URL": a.With("https://x.test", ""), "line break": a.With("https://x.test", "a\nb"), "long URL": a.With("https://x.test", strings.Repeat("x", maxURL)),
	} {
		if _, err := EncodeAccount(bad); !errors.Is(err, ErrItem) {
			t.Errorf("EncodeAccount() with %s = %v, want %v", name, err, ErrItem)
		}
	}
}

func TestLedgersRoundTrip(t *testing.T) {
	l := NewLedger(LetsEncrypt, nil)
	take(l, item(t, "a.test"), 3)
	l.Hold(time.Hour, t0)
	b, err := EncodeUsed(l.Used(t0))
	if err != nil {
		t.Fatal(err)
	}
	used, err := DecodeUsed(b)
	if err != nil || !maps.EqualFunc(used, l.Used(t0), time.Time.Equal) {
		t.Errorf("DecodeUsed() = %v, %v, want %v", used, err, l.Used(t0))
	}
	for n := range b {
		if _, err := DecodeUsed(b[:n]); !errors.Is(err, ErrRecord) {
			t.Errorf("DecodeUsed() of the first %d bytes = %v, want %v", n, err, ErrRecord)
		}
	}
}

func TestALedgerFitsItsRecord(t *testing.T) {
	used := map[string]time.Time{"orders": t0, "hold": t0}
	for i := range 2 * maxUsed {
		used[fmt.Sprintf("set/%032d", i)] = t0.Add(time.Duration(i+1) * time.Second)
	}
	b, err := EncodeUsed(used)
	if err != nil || len(b) > maxRecord {
		t.Fatalf("EncodeUsed() = %d bytes, %v, want at most %d", len(b), err, maxRecord)
	}
	got, err := DecodeUsed(b)
	if err != nil {
		t.Fatal(err)
	}
	_, orders := got["orders"]
	_, last := got[fmt.Sprintf("set/%032d", 2*maxUsed-1)]
	_, first := got[fmt.Sprintf("set/%032d", 0)]
	if len(got) != maxUsed || !orders || !last || first {
		t.Errorf("EncodeUsed() keeps %d buckets, orders %v, the last %v, the first %v, want %d, true, true, false", len(got), orders, last, first, maxUsed)
	}
}

package store_test

import (
	"encoding/base64"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func account(key string) issuance.Account {
	return issuance.Account{Key: fleet.NewSecret([]byte(key))}
}

func answer(b byte) store.Answer {
	sum := [32]byte{b}
	return store.Answer{Thumbprint: base64.RawURLEncoding.EncodeToString(sum[:])}
}

func TestOneAccountOfTwoLeaders(t *testing.T) {
	w := shared(t)
	session := w.lead(t, "a")
	if _, err := w.Account(t.Context()); !errors.Is(err, store.ErrMissing) {
		t.Errorf("Account() of a new fleet = %v, want %v", err, store.ErrMissing)
	}
	first, err := w.PutAccount(t.Context(), account("one"), 0, session)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutAccount(t.Context(), account("two"), 0, session); !errors.Is(err, store.ErrConflict) {
		t.Errorf("PutAccount() of a second key = %v, want %v", err, store.ErrConflict)
	}
	if _, err := w.PutAccount(t.Context(), first.Account.With("https://ca.test", "https://ca.test/1"), first.Index, session); err != nil {
		t.Errorf("PutAccount() with a CA = %v", err)
	}
	got, err := w.Account(t.Context())
	if err != nil || !got.Account.Key.Equal(first.Account.Key) || got.Account.URLs["https://ca.test"] == "" {
		t.Errorf("Account() = %+v, %v, want the first key and its CA", got, err)
	}
	w.put(t, "acme/account", []byte("junk"))
	if _, err := w.Account(t.Context()); !errors.Is(err, store.ErrRecord) {
		t.Errorf("Account() of junk = %v, want %v", err, store.ErrRecord)
	}
}

func TestAnswerIsFollowed(t *testing.T) {
	w := shared(t)
	session := w.lead(t, "a")
	seen := make(chan store.AnswerRecord, 10)
	follow(t, func() error {
		return w.WatchAnswer(t.Context(), func(rec store.AnswerRecord, err error) {
			if err == nil {
				seen <- rec
			}
		})
	})
	for _, want := range []store.Answer{answer(1), answer(2)} {
		if err := w.PutAnswer(t.Context(), want, session); err != nil {
			t.Fatal(err)
		}
		select {
		case rec := <-seen:
			if rec.Answer != want {
				t.Errorf("WatchAnswer() saw %v, want %v", rec.Answer, want)
			}
			if own, err := w.OpenAnswer(rec.Sealed); err != nil || own != want {
				t.Errorf("OpenAnswer() = %v, %v, want %v", own, err, want)
			}
		case <-time.After(soon):
			t.Fatal("WatchAnswer() saw nothing")
		}
	}
	before := w.index(t, "acme/answer")
	if err := w.PutAnswer(t.Context(), answer(2), session); err != nil || w.index(t, "acme/answer") != before {
		t.Errorf("PutAnswer() of the same = %v, want no write", err)
	}
	for name, plain := range map[string]string{
		"newer schema":  `{"schema":2,"thumbprint":"` + answer(1).Thumbprint + `"}`,
		"configuration": `{"schema":1,"thumbprint":"x; } server {"}`, "none": `{"schema":1}`, "junk": "x",
	} {
		sealed, err := w.keyring.Seal(w.name, w.key("acme/answer"), 1, []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.OpenAnswer(sealed); !errors.Is(err, store.ErrRecord) {
			t.Errorf("OpenAnswer() of %s = %v, want %v", name, err, store.ErrRecord)
		}
	}
}

func TestUsed(t *testing.T) {
	w := shared(t)
	session := w.lead(t, "a")
	if used, err := w.Used(t.Context(), "ca"); err != nil || len(used) != 0 {
		t.Errorf("Used() of a new fleet = %v, %v, want nothing", used, err)
	}
	want := map[string]time.Time{"orders": time.UnixMilli(1234).UTC()}
	if err := w.PutUsed(t.Context(), "ca", want, session); err != nil {
		t.Fatal(err)
	}
	if used, err := w.Used(t.Context(), "ca"); err != nil || !maps.Equal(used, want) {
		t.Errorf("Used() = %v, %v, want %v", used, err, want)
	}
	w.put(t, "acme/ledgers/other", w.raw(t, "acme/ledgers/ca"))
	if _, err := w.Used(t.Context(), "other"); !errors.Is(err, store.ErrRecord) {
		t.Errorf("Used() of another CA's record = %v, want %v", err, store.ErrRecord)
	}
}

package store_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/store"
)

func TestChallengesAreKnownUntilTheyAreDropped(t *testing.T) {
	w := shared(t)
	session := w.lead(t, "a")
	now := time.Now()
	c := store.Challenge{Token: "A-z_09", Thumbprint: answer(1).Thumbprint, At: now}
	if err := w.PutChallenge(t.Context(), c, session); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Challenge(t.Context(), "A-z_09"); err != nil || got.Answer() != "A-z_09."+c.Thumbprint || got.At.Unix() != now.Unix() {
		t.Errorf("Challenge() = %+v, %v, want %+v", got, err, c)
	}
	for _, token := range []string{"other", "", "..", "../account", "a/b", strings.Repeat("a", 201)} {
		if got, err := w.Challenge(t.Context(), token); !errors.Is(err, store.ErrMissing) {
			t.Errorf("Challenge(%.20q) = %+v, %v, want %v", token, got, err, store.ErrMissing)
		}
	}
	// A record counts under its own key only.
	w.put(t, "acme/challenges/moved", w.raw(t, "acme/challenges/A-z_09"))
	if got, err := w.Challenge(t.Context(), "moved"); !errors.Is(err, store.ErrRecord) {
		t.Errorf("Challenge() of a record that was moved = %+v, %v, want %v", got, err, store.ErrRecord)
	}
	for name, bad := range map[string]store.Challenge{
		"token":      {Token: "../account", Thumbprint: c.Thumbprint, At: now},
		"thumbprint": {Token: "a", Thumbprint: "a\";", At: now},
	} {
		if err := w.PutChallenge(t.Context(), bad, session); err == nil {
			t.Errorf("PutChallenge() with a bad %s = nil, want an error", name)
		}
	}
	if err := w.PutChallenge(t.Context(), store.Challenge{Token: "new", Thumbprint: c.Thumbprint, At: now.Add(time.Hour)}, session); err != nil {
		t.Fatal(err)
	}
	old, err := w.OldChallenges(t.Context(), now.Add(time.Minute))
	if want := []string{"A-z_09", "moved"}; err != nil || !slices.Equal(old, want) {
		t.Errorf("OldChallenges() = %q, %v, want %q", old, err, want)
	}
	if err := w.DropChallenges(t.Context(), old, session); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Challenge(t.Context(), "A-z_09"); !errors.Is(err, store.ErrMissing) {
		t.Errorf("Challenge() of what was dropped = %v, want %v", err, store.ErrMissing)
	}
	w.destroy(t, session)
	if err := w.PutChallenge(t.Context(), c, session); !errors.Is(err, store.ErrFenced) {
		t.Errorf("PutChallenge() by who led before = %v, want %v", err, store.ErrFenced)
	}
}

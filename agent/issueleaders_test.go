package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestAnAccountMovesToTheLeadersKeyring gives a fleet at work a keyring of its
// leaders: the next leader goes on with the same account, which from then on no
// other host can open.
func TestAnAccountMovesToTheLeadersKeyring(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	stop := w.leader(t)
	w.answering(t)
	w.add(t, "a.test")
	w.await(t, "a.test", "issued", isState(issuance.Issued))
	before, err := w.store.Account(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stop()
	others := w.leading
	leaders, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.leading, err = store.Open(store.Config{Address: w.consul.Addr, Fleet: w.console.cfg.Fleet, Log: testkit.Logger(t), Leaders: leaders}, w.keyring)
	if err != nil {
		t.Fatal(err)
	}
	stop = w.leader(t)
	testkit.Eventually(t, 50*time.Second, "the account to move", func() error {
		rec, err := w.leading.Account(t.Context())
		if err == nil && rec.Old {
			err = errors.New("it is sealed with the fleet's keyring")
		}
		return err
	})
	if rec, err := w.leading.Account(t.Context()); err != nil || !rec.Account.Key.Equal(before.Account.Key) {
		t.Errorf("Account() of the leaders = %v, %v, want the key that it was", rec.Index, err)
	}
	if _, err := w.store.Account(t.Context()); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("Account() with the fleet's keyring = %v, want %v", err, seal.ErrUnknownKey)
	}
	w.add(t, "b.test")
	w.await(t, "b.test", "issued", isState(issuance.Issued))
	stop()
	// A host without the setting leads and obtains nothing; it makes no account.
	w.leading = others
	stop = w.leader(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := w.console.AddDomains(ctx, []issuance.Wish{wishOf("c.test")}, "test", nil); err == nil {
		t.Error("AddDomains() with a leader without the keyring = nil, want nobody to take it")
	}
	stop()
	w.wantCounts(t, 1, 2, 2)
}

// TestChallengesAreInConsulWhileTheCALooks also has what a former leader left be
// taken away, and what is new be left alone.
func TestChallengesAreInConsulWhileTheCALooks(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.rules.published = true
	session := w.lead(t)
	const thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	for token, at := range map[string]time.Time{"old": w.now().Add(-2 * time.Hour), "new": w.now()} {
		if err := w.store.PutChallenge(t.Context(), store.Challenge{Token: token, Thumbprint: thumbprint, At: at}, session); err != nil {
			t.Fatal(err)
		}
	}
	w.depose(t, session)
	w.leader(t)
	w.answering(t)
	testkit.Eventually(t, 50*time.Second, "the end of the challenge that a former leader left", func() error {
		if _, err := w.store.Challenge(t.Context(), "old"); !errors.Is(err, store.ErrMissing) {
			return fmt.Errorf("Challenge() = %w, want %w", err, store.ErrMissing)
		}
		return nil
	})
	if _, err := w.store.Challenge(t.Context(), "new"); err != nil {
		t.Errorf("Challenge() that was made known just now = %v, want it", err)
	}
	tokens := func() []string {
		keys, _, err := w.store.Client().KV().Keys(fmt.Sprintf("tlsfleet/%s/acme/challenges/", w.console.cfg.Fleet), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	g := newGate("/chalZ", "", 0, true)
	w.proxy.Set(g.rule())
	w.add(t, "a.test")
	<-g.reached
	if n := len(tokens()); n != 2 {
		t.Errorf("%d challenges are in Consul while the CA is asked to look, want that and the new one: %q", n, tokens())
	}
	close(g.release)
	w.await(t, "a.test", "issued", isState(issuance.Issued))
	if left := tokens(); len(left) != 1 {
		t.Errorf("in Consul are left %q, want the new one alone", left)
	}
}

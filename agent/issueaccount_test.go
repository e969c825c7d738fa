package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// clients are those of a leader's term.
func (w *issueWorld) clients(t *testing.T) *clients {
	t.Helper()
	i := &issue{log: testkit.Logger(t), store: w.store, rules: w.rules}
	tm := &term{issue: i, session: w.lead(t)}
	if err := tm.openAccount(t.Context()); err != nil {
		t.Fatal(err)
	}
	return tm.clients
}

// TestACAThatHangsHoldsUpNoOther connects to a second CA, and registers there,
// while the first answers nothing.
func TestACAThatHangsHoldsUpNoOther(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	first := w.rules.cas[0]
	w.rules.cas = []issuer.CA{first, {Name: "second", Directory: w.pebble.Directory, RootFile: w.pebble.RootFile}}
	w.proxy.Set(testkit.Rule{Fault: testkit.Hang})
	c := w.clients(t)
	ctx, cancel := context.WithCancel(t.Context())
	hanging := make(chan error, 1)
	go func() {
		_, err := c.of(ctx, first.Name)
		hanging <- err
		close(hanging)
	}()
	testkit.Eventually(t, 50*time.Second, "the first CA to be asked", func() error {
		if w.proxy.Seen("", "") == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	if _, err := c.of(t.Context(), "second"); err != nil {
		t.Errorf("of(second) = %v", err)
	}
	select {
	case err := <-hanging:
		t.Errorf("of(%s) of a CA that hangs = %v before the second CA has answered", first.Name, err)
	default:
	}
	w.proxy.Set()
	cancel()
	if err := <-hanging; err == nil {
		t.Errorf("of(%s) of a CA that hangs = nil, want an error", first.Name)
	}
	if _, err := c.of(t.Context(), first.Name); err != nil {
		t.Errorf("of(%s) after it has hung = %v", first.Name, err)
	}
	rec, err := w.store.Account(t.Context())
	if err != nil || len(rec.Account.URLs) != 2 {
		t.Errorf("Account() = %v, %v, want it at both CAs", rec.Account.URLs, err)
	}
}

// TestThoseThatNeedACAShareOneConnection has several need it before it answers.
func TestThoseThatNeedACAShareOneConnection(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	g := newGate("/sign-me-up", "", 0, true)
	w.proxy.Set(g.rule())
	c := w.clients(t)
	var all errgroup.Group
	got := make([]*issuer.Client, 8)
	ask := func(n int) {
		all.Go(func() (err error) {
			got[n], err = c.of(t.Context(), "pebble")
			return err
		})
	}
	ask(0)
	<-g.reached
	for n := range got[1:] {
		ask(n + 1)
	}
	awaitStacks(t, "agent.(*clients).of(", len(got))
	close(g.release)
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	for n, client := range got {
		if client != got[0] {
			t.Errorf("of() the %dth time = another connection, want the first", n+1)
		}
	}
	if n := w.proxy.Seen("", "/sign-me-up"); n != 1 {
		t.Errorf("the CA was asked for %d accounts, want 1", n)
	}
}

// TestTheAccountIsForgottenOnce has two that share a client learn that the CA has
// lost the account.
func TestTheAccountIsForgottenOnce(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	c := w.clients(t)
	old, err := c.of(t.Context(), "pebble")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		if err := c.forget(t.Context(), "pebble", old); err != nil {
			t.Fatal(err)
		}
		next, err := c.of(t.Context(), "pebble")
		if err != nil || next == old {
			t.Fatalf("of() after forget() the %dth time = the old client %v, %v, want a new one", n+1, next == old, err)
		}
	}
	if n := w.proxy.Seen("", "/sign-me-up"); n != 2 {
		t.Errorf("the CA was asked for an account %d times, want twice", n)
	}
	if _, err := c.of(t.Context(), "other"); !errors.Is(err, errUnknownCA) {
		t.Errorf("of() of a CA that is not configured = %v, want %v", err, errUnknownCA)
	}
}

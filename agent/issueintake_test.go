package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestRequestsBesideARestoreWaitForTheJournal has a leader that knows no items be
// asked for one that a restore has just put back, in the same look at the queue:
// added anew it would be ordered anew.
func TestRequestsBesideARestoreWaitForTheJournal(t *testing.T) {
	for name, order := range map[string][]issuance.Verb{
		"asked for after it":  {issuance.Reread, issuance.Add},
		"asked for before it": {issuance.Add, issuance.Reread},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newIssueWorld(t, testkit.PebbleOptions{})
			w.journal(t, func(now time.Time) issuance.Item { return beginning(t, now.Add(-time.Hour), "a.test") })
			for _, do := range order {
				r := issuance.Request{At: w.now(), By: "test", Do: do}
				if do == issuance.Add {
					r.Wishes = []issuance.Wish{wishOf("a.test")}
				}
				if _, err := w.store.PutRequest(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			queue, err := w.store.Requests(t.Context())
			if err != nil || len(queue) != 2 {
				t.Fatalf("Requests() = %d, %v, want 2", len(queue), err)
			}
			stale := &term{
				issue:   &issue{log: testkit.Logger(t), store: w.store, rules: w.rules, seen: &leading{}, now: w.now},
				session: w.lead(t), planner: issuance.NewPlanner(issuance.NewLedger(issuance.Limits{}, nil)),
				names: map[string]string{}, ends: map[string]*ending{},
			}
			if err := stale.intake(t.Context(), queue); !errors.Is(err, errReread) {
				t.Errorf("intake() = %v, want %v", err, errReread)
			}
			if it, err := w.store.Item(t.Context(), issuance.ID([]string{"a.test"})); err != nil || it.State != issuance.Preflight {
				t.Errorf("the item that was put back is %q, %v, want it as it was, %q", it.State, err, issuance.Preflight)
			}
			if left, err := w.store.Requests(t.Context()); err != nil || len(left) != 1 || left[0].Request.Do != issuance.Add {
				t.Errorf("Requests() = %+v, %v, want that for a.test alone, for the next term", left, err)
			}
		})
	}
}

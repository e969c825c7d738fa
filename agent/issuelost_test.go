package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestAFleetThatHadAnAccountGetsNoOtherOne has leaders meet an empty Consul.
func TestAFleetThatHadAnAccountGetsNoOtherOne(t *testing.T) {
	const thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	for name, c := range map[string]struct {
		own    past
		others uint64 // epoch that another node follows
		want   string
	}{
		"its nginx answers challenges":   {own: past{thumbprint: thumbprint}, want: thumbprint},
		"it follows an inventory":        {own: past{inventory: 7}, want: "epoch 7"},
		"another node follows inventory": {others: 8, want: "other follows epoch 8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newIssueWorld(t, testkit.PebbleOptions{})
			w.past = c.own
			if c.others > 0 {
				w.reported(t, fleet.Report{Node: "other", Inventory: c.others})
			}
			w.leader(t)
			testkit.Eventually(t, 50*time.Second, "the alarm", func() error {
				if l := w.problems.list(); len(l) != 1 || l[0].Code != "account-missing" || !strings.Contains(l[0].Message, c.want) {
					return fmt.Errorf("problems are %+v, want account-missing with %q", l, c.want)
				}
				return nil
			})
			if _, err := w.store.Account(t.Context()); !errors.Is(err, store.ErrMissing) {
				t.Errorf("Account() = %v, want %v", err, store.ErrMissing)
			}
			told := Copies{cfg: w.console.cfg, store: w.store, log: hclog.NewNullLogger()}
			if err := told.NewAccount(t.Context()); err != nil {
				t.Errorf("NewAccount() = %v", err)
			}
			if err := told.NewAccount(t.Context()); !errors.Is(err, ErrAccount) {
				t.Errorf("NewAccount() once more = %v, want %v", err, ErrAccount)
			}
			testkit.Eventually(t, 50*time.Second, "the leader to go on", func() error {
				if l := w.problems.list(); len(l) > 0 {
					return fmt.Errorf("problems are %+v", l)
				}
				return nil
			})
		})
	}
}

// reported keeps the report of a node until the test ends.
func (w *issueWorld) reported(t *testing.T, r fleet.Report) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	reports, told, ended := make(chan fleet.Report, 1), make(chan error, 100), make(chan error, 1)
	reports <- r
	go func() {
		ended <- w.store.KeepReport(ctx, r.Node, time.Minute, reports, func(err error) {
			select {
			case told <- err:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if err := <-told; err != nil {
		t.Fatal(err)
	}
}

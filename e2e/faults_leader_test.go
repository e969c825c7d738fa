package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// leaderTTL is leader.ttl of every fleet here. Consul ends a session that
// nobody renews after one to two times its TTL.
const leaderTTL = 10 * time.Second

// TestFrozenLeaderWritesNothing freezes the leader while its rotation is on
// the way to Consul, and delivers that when its lease has ended and nobody has
// written yet. Then another leads and rotates, once.
func TestFrozenLeaderWritesNothing(t *testing.T) {
	t.Parallel()
	o := onShared(t, 3, Settings{"ticket.policy": "proceed", "ticket.deadline": "3s"})
	proxy := testkit.FaultProxy(t, o.Consul.Addr)
	o.Node = func(i int) Settings {
		if i == 0 {
			return Settings{"consul.address": proxy.Addr}
		}
		return Settings{"leader.eligible": false}
	}
	f := NewFleet(t, o)
	frozen, heir := f.Nodes[0], f.Nodes[1]
	before := f.StoredRing(t)
	late := lateWrite{open: make(chan struct{})}
	proxy.Set(testkit.Rule{Method: http.MethodPut, Path: "/v1/txn", Times: 1, Fault: late.deliver})
	f.ConsulCLI(t, "event", "-name=tlsfleet-rotate-ticket", f.Name).Want(t, 0)
	awaitCount(t, "the leader's write", &late.held)
	AwaitLog(t, heir.Agent, "event noted")
	frozen.Agent.Signal(t, syscall.SIGSTOP)
	testkit.Eventually(t, settle, "the end of the frozen leader's session", func() error {
		pair, _, err := f.Consul.Client(t).KV().Get("tlsfleet/"+f.Name+"/leader", nil)
		if err == nil && pair != nil && pair.Session != "" {
			err = fmt.Errorf("session %s holds the lock", pair.Session)
		}
		return err
	})
	close(late.open)
	awaitCount(t, "the answer to the late write", &late.answer)
	if code := late.answer.Load(); code != http.StatusConflict || !bytes.Equal(f.StoredRing(t), before) {
		t.Errorf("the late write got status %d, want %d and nothing written", code, http.StatusConflict)
	}
	heir.Settings["leader.eligible"] = true
	heir.WriteConfig(t)
	heir.AwaitReport(t, "a rotation by the next leader", provedWithout(2, ""))
	record := f.StoredRing(t)
	frozen.Agent.Signal(t, syscall.SIGCONT)
	AwaitLog(t, frozen.Agent, "no longer leading")
	s := f.AwaitProved(t, 2)
	if s.Epoch != 2 || s.Cause != fleet.CauseEvent || s.By != heir.Name || !bytes.Equal(f.StoredRing(t), record) {
		t.Errorf("ring = epoch %d (%s by %s), want the epoch 2 that %s made of the event", s.Epoch, s.Cause, s.By, heir.Name)
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	if s := f.Status(t); s.Epoch != 3 {
		t.Errorf("epoch = %d after one more rotation, want 3", s.Epoch)
	}
}

func awaitCount(t *testing.T, what string, count *atomic.Int64) {
	t.Helper()
	testkit.Eventually(t, settle, what, func() error {
		if count.Load() == 0 {
			return errors.New("there is none")
		}
		return nil
	})
}

// lateWrite holds requests back until it is opened.
type lateWrite struct {
	open         chan struct{}
	held, answer atomic.Int64
}

// deliver is a testkit.Fault. It asks the server on its own behalf, because
// the client may have given up.
func (l *lateWrite) deliver(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	l.held.Add(1)
	<-l.open
	rec := httptest.NewRecorder()
	pass.ServeHTTP(rec, r.WithContext(context.WithoutCancel(r.Context())))
	l.answer.CompareAndSwap(0, int64(rec.Code))
	testkit.Cut(w, r, nil)
}

// TestKilledLeaderIsReplacedAndNoRequestIsLost kills the leader while an event
// waits for a node to prove the ring.
func TestKilledLeaderIsReplacedAndNoRequestIsLost(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 3, nil))
	leader := f.Leader(t)
	var others []*Node
	for _, n := range f.Nodes {
		if n != leader {
			others = append(others, n)
		}
	}
	broken, heir := others[0], others[1]
	broken.EditNginx(t, "http {", "http {\nnonsense_of_the_operator on;")
	f.CLI(t, "rotate-ticket").Want(t, 0)
	broken.AwaitReload(t, fleet.ReloadRejected, 1, 1)
	f.ConsulCLI(t, "event", "-name=tlsfleet-rotate-ticket", f.Name).Want(t, 0)
	AwaitLog(t, heir.Agent, "event noted")
	AwaitLog(t, leader.Agent, "event noted")
	leader.Agent.Kill(t)
	begin := time.Now()
	s := f.Await(t, "another leader", func(s Status) error {
		if s.Leader == leader.Name || s.Leader == "" {
			return fmt.Errorf("leader is %q", s.Leader)
		}
		return nil
	})
	next := f.Nodes[slices.IndexFunc(f.Nodes, func(n *Node) bool { return n.Name == s.Leader })]
	AwaitLog(t, next.Agent, "leading:")
	if took := saidAt(t, next, "leading:").Sub(begin); took > 2*leaderTTL+5*time.Second {
		t.Errorf("%s leads %s after the kill, want within two TTLs", s.Leader, took)
	}
	leader.StartAgent(t)
	broken.EditNginx(t, "nonsense_of_the_operator on;", "")
	if s := f.AwaitProved(t, 3); s.Epoch != 3 || s.Cause != fleet.CauseEvent {
		t.Errorf("ring = epoch %d (%s), want 3 by the event", s.Epoch, s.Cause)
	}
}

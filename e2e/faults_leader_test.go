package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
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
// the way to Consul, and delivers that when another has led and rotated.
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
	heir.Settings["leader.eligible"] = true
	heir.WriteConfig(t)
	var late lateWrite
	late.open = make(chan struct{})
	proxy.Set(testkit.Rule{Method: http.MethodPut, Path: "/v1/txn", Fault: late.deliver})
	f.ConsulCLI(t, "event", "-name=tlsfleet-rotate-ticket", f.Name).Want(t, 0)
	testkit.Eventually(t, settle, "the leader's write", func() error {
		if late.held.Load() == 0 {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	frozen.Agent.Signal(t, syscall.SIGSTOP)
	begin := time.Now()
	AwaitLog(t, heir.Agent, "leading") // a session lasts up to twice its TTL
	heir.AwaitReport(t, "a rotation by the next leader", provedWithout(2, ""))
	if took := time.Since(begin); took > 2*leaderTTL+10*time.Second {
		t.Errorf("the next leader rotated %s after the freeze, want within two TTLs and the deadline", took)
	}
	record := f.StoredRing(t)
	close(late.open)
	testkit.Eventually(t, settle, "the answer to the late write", func() error {
		if late.answer.Load() == 0 {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	if code := late.answer.Load(); code != http.StatusConflict {
		t.Errorf("the late write got status %d, want %d", code, http.StatusConflict)
	}
	proxy.Set()
	frozen.Agent.Signal(t, syscall.SIGCONT)
	AwaitLog(t, frozen.Agent, "no longer leading")
	s := f.AwaitProved(t, 2)
	if s.Epoch != 2 || s.Cause != fleet.CauseEvent || string(f.StoredRing(t)) != string(record) {
		t.Errorf("ring = epoch %d (%s by %s), want the epoch 2 that %s made of the event", s.Epoch, s.Cause, s.By, heir.Name)
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	if s := f.Status(t); s.Epoch != 3 {
		t.Errorf("epoch = %d after one more rotation, want 3", s.Epoch)
	}
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
	pass.ServeHTTP(rec, r)
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
	if took := time.Since(begin); took > 2*leaderTTL+5*time.Second {
		t.Errorf("%s leads %s after the kill, want within two TTLs", s.Leader, took)
	}
	leader.StartAgent(t)
	broken.EditNginx(t, "nonsense_of_the_operator on;", "")
	if s := f.AwaitProved(t, 3); s.Epoch != 3 || s.Cause != fleet.CauseEvent {
		t.Errorf("ring = epoch %d (%s), want 3 by the event", s.Epoch, s.Cause)
	}
}

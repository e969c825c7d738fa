package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

const turnSoon = 30 * time.Second

// turns is one node's slots on a real Consul, reached through a proxy.
type turns struct {
	*slots
	proxy *testkit.Proxy
	fleet string

	mu      sync.Mutex
	results []string
}

// newTurns is a node of a fleet without a leader: it has one slot.
func newTurns(t *testing.T, name, node string, keyring *seal.Keyring) *turns {
	t.Helper()
	x := &turns{fleet: name, proxy: testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)}
	st, err := store.Open(store.Config{Address: x.proxy.Addr, Fleet: name, Log: testkit.Logger(t)}, keyring)
	if err != nil {
		t.Fatal(err)
	}
	x.slots = &slots{
		log: testkit.Logger(t), store: st, node: node, ttl: 10 * time.Second, patience: time.Minute, blind: time.Minute,
		problems: newProblems(func() {}), awaited: x.note,
	}
	return x
}

func (x *turns) note(result string, _ time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.results = append(x.results, result)
}

// twoNodes are two nodes of one fleet, begun and ended with the test.
func twoNodes(t *testing.T) (a, b *turns) {
	t.Helper()
	keyring, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	name := testkit.FleetName(t)
	a, b = newTurns(t, name, "a", keyring), newTurns(t, name, "b", keyring)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); a.end(); b.end() })
	a.begin(ctx)
	b.begin(ctx)
	return a, b
}

// comes waits for the turn.
func comes(t *testing.T, turn *turn, when string) {
	t.Helper()
	select {
	case <-turn.come:
	case <-time.After(turnSoon):
		t.Fatalf("the turn did not come %s", when)
	}
}

// wantEnd wants this end of a node's only wait, and only this problem.
func (x *turns) wantEnd(t *testing.T, result, code string) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if !slices.Equal(x.results, []string{result}) {
		t.Errorf("waits ended with %v, want %s", x.results, result)
	}
	var codes []string
	for _, p := range x.problems.list() {
		codes = append(codes, p.Code)
	}
	if strings.Join(codes, " ") != code {
		t.Errorf("problems = %v, want %q", codes, code)
	}
}

func TestTurnsFollowEachOther(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	first := a.ask(t.Context())
	comes(t, first, "with nobody before it")
	second := b.ask(t.Context())
	testkit.Eventually(t, turnSoon, "the second node to look", func() error {
		if b.proxy.Seen("GET", "/v1/kv/") < 2 {
			return errors.New("it has not")
		}
		return nil
	})
	if second.hasCome() {
		t.Error("the turn came while another node had its own")
	}
	first.over()
	comes(t, second, "after the first was over")
	second.over()
	b.wantEnd(t, slotTaken, "")
}

func TestTurnComesWithoutSlotWhenPatienceEnds(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	b.patience = 300 * time.Millisecond
	comes(t, a.ask(t.Context()), "with nobody before it")
	comes(t, b.ask(t.Context()), "after its patience")
	b.wantEnd(t, slotTimeout, "reload-without-slot")
}

func TestTurnComesWithoutConsul(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]testkit.Fault{"away": testkit.Cut, "hanging": testkit.Hang} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _ := twoNodes(t)
			<-a.freed
			a.blind = 300 * time.Millisecond
			a.proxy.Set(testkit.Rule{Fault: fault})
			comes(t, a.ask(t.Context()), "without Consul")
			a.wantEnd(t, slotNoConsul, "reload-without-slot")
		})
	}
}

func TestTurnComesWhenDenied(t *testing.T) {
	t.Parallel()
	a, _ := twoNodes(t)
	a.proxy.Set(testkit.Rule{Path: "/v1/kv/", Fault: testkit.Status(403)})
	comes(t, a.ask(t.Context()), "with a token of too few rights")
	a.wantEnd(t, slotDenied, "reload-without-slot")
}

// TestTurnOutlivesItsSession loses the slot while the node reloads: the reload
// goes on, and the next turn is an ordinary one.
func TestTurnOutlivesItsSession(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	lost := a.ask(t.Context())
	comes(t, lost, "with nobody before it")
	kv := a.store.Client().KV()
	pair, _, err := kv.Get("tlsfleet/"+a.fleet+"/reload/slots/0", nil)
	if err != nil || pair == nil {
		t.Fatalf("slot 0 = %v, %v, want it held", pair, err)
	}
	if _, err := a.store.Client().Session().Destroy(pair.Session, nil); err != nil {
		t.Fatal(err)
	}
	comes(t, b.ask(t.Context()), "after the slot was lost")
	lost.over()
	a.wantEnd(t, slotTaken, "")
}

// TestTurnsAreGivenUp gives up a wait that nobody needs any more.
func TestTurnsAreGivenUp(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	held := a.ask(t.Context())
	comes(t, held, "with nobody before it")
	b.ask(t.Context()).over()
	held.over()
	again := a.ask(t.Context())
	comes(t, again, "after a wait was given up")
	again.over()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.results) != 0 {
		t.Errorf("a wait that was given up ended with %v, want nothing", b.results)
	}
}

func TestTurnTellsOfLongWaits(t *testing.T) {
	x := &slots{log: testkit.Logger(t), problems: newProblems(func() {})}
	x.seen(store.SlotsLook{Slots: 1, Holders: []string{"a"}}, slotLong-1)
	if list := x.problems.list(); len(list) != 0 {
		t.Errorf("problems = %v before %s, want none", list, slotLong)
	}
	x.seen(store.SlotsLook{Slots: 1, Holders: []string{"a", "b"}}, slotLong)
	list := x.problems.list()
	if len(list) != 1 || list[0].Severity != fleet.Warning || !strings.Contains(list[0].Message, "a, b") {
		t.Errorf("problems = %v after %s, want a warning that names who holds the slots", list, slotLong)
	}
}

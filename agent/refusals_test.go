package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/status"
)

func TestRefusalsSpareConsul(t *testing.T) {
	now := time.Now()
	p := newProblems(func() {})
	r := refusals{problems: p}
	bad, good := fleet.Hash{1}, fleet.Hash{2}
	useless := fmt.Errorf("%w: torn", status.ErrUnusable)
	away := fmt.Errorf("%w: no route", status.ErrNotNow)
	want := func(when string, hash fleet.Hash, at time.Time, want error) {
		t.Helper()
		if got := r.recent(hash, at); !errors.Is(got, want) || (want == nil) != (got == nil) {
			t.Errorf("%s: recent() = %v, want %v", when, got, want)
		}
	}
	if err := r.note("a.test", bad, useless, now); !errors.Is(err, status.ErrUnusable) {
		t.Errorf("note() = %v, want %v", err, useless)
	}
	want("at once", bad, now, status.ErrUnusable)
	want("of another", good, now, nil)
	want("later", bad, now.Add(refusedFor), nil)
	if list := p.list(); len(list) != 1 || !strings.Contains(list[0].Message, "a.test") {
		t.Errorf("problems are %+v, want one of a.test", list)
	}
	r.forget(bad)
	want("had", bad, now, nil)
	if list := p.list(); len(list) != 0 {
		t.Errorf("problems are %+v, want none", list)
	}
	if err := r.note("b.test", good, away, now); !errors.Is(err, status.ErrNotNow) {
		t.Errorf("note() = %v, want %v", err, away)
	}
	want("of all while Consul is away", bad, now, status.ErrNotNow)
	want("after a while", bad, now.Add(awayFor), nil)
	if list := p.list(); len(list) != 0 {
		t.Errorf("problems are %+v, want none for what may come back", list)
	}
}

func TestRefusalsEndWithTheInventory(t *testing.T) {
	now := time.Now()
	p := newProblems(func() {})
	useless := fmt.Errorf("%w: torn", status.ErrUnusable)
	entry := fleet.Entry{Name: "a.test", Bundle: fleet.Hash{1}}
	tests := map[string]struct {
		now  fleet.Entry
		left int
	}{
		"same":    {entry, 1},
		"renewed": {fleet.Entry{Name: "a.test", Bundle: fleet.Hash{2}}, 0},
		"removed": {fleet.Entry{Name: "a.test", Removed: true}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, d := refusals{problems: p}, directory{}
			if err := r.note("a.test", entry.Bundle, useless, now); err == nil {
				t.Fatal("note() = nil, want the error")
			}
			d.put(inventory.Shard{Number: inventory.ShardOf("a.test"), Entries: []fleet.Entry{tt.now}})
			if r.review(&d); len(r.of) != tt.left || len(p.list()) != tt.left {
				t.Errorf("review() leaves %d refusals and %d problems, want %d", len(r.of), len(p.list()), tt.left)
			}
		})
	}
}

// TestManyRefusalsAreForgotten bounds what bad records make a node remember.
func TestManyRefusalsAreForgotten(t *testing.T) {
	r := refusals{problems: newProblems(func() {})}
	useless := fmt.Errorf("%w: torn", status.ErrUnusable)
	for i := range 3 * maxRefusals {
		if err := r.note("a.test", fleet.Hash{byte(i), byte(i >> 8)}, useless, time.Now()); err == nil {
			t.Fatal("note() = nil, want the error")
		}
	}
	if len(r.of) > maxRefusals {
		t.Errorf("%d refusals are remembered, want at most %d", len(r.of), maxRefusals)
	}
}

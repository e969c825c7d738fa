package main

import (
	"errors"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// TestTheCARefuses shows that what the benchmark counts can be counted.
func TestTheCARefuses(t *testing.T) {
	c := newCA()
	it, err := issuance.New([]string{"www.a.com"}, "", "", start)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		c.order(it, start)
	}
	if c.refused != 0 {
		t.Errorf("5 orders for a set: %d refused, want none", c.refused)
	}
	c.order(it, start)
	if c.refused != 1 {
		t.Errorf("a sixth: %d refused, want 1", c.refused)
	}
	c.order(it, start.Add(34*time.Hour))
	if c.refused != 1 {
		t.Errorf("one 34 hours later: %d refused, want 1", c.refused)
	}
}

func TestFirst(t *testing.T) {
	r, err := first()
	if err == nil {
		err = r.judge(time.Minute) // of a busy machine
	}
	if err != nil {
		t.Errorf("first() = %s, %v", r, err)
	}
}

func TestSteady(t *testing.T) {
	r, err := steady(20_000)
	if err == nil {
		err = r.judge(time.Minute)
	}
	if err != nil {
		t.Errorf("steady() = %s, %v", r, err)
	}
}

func TestJudge(t *testing.T) {
	good := result{name: "steady", names: 1, hours: 100, ideal: 100, peakOverMean: 1.5, tick: time.Microsecond}
	if err := good.judge(mostTick); err != nil {
		t.Errorf("judge() = %v, want nil", err)
	}
	for name, change := range map[string]func(r *result){
		"refused": func(r *result) { r.refused = 1 }, "expired": func(r *result) { r.expired = 1 },
		"late": func(r *result) { r.hours = 102 }, "early": func(r *result) { r.hours = 98 },
		"peak": func(r *result) { r.peakOverMean = 2.1 }, "slow": func(r *result) { r.tick = time.Second },
	} {
		r := good
		if change(&r); !errors.Is(r.judge(mostTick), errWorse) {
			t.Errorf("judge() of %s = nil, want %v", name, errWorse)
		}
	}
}

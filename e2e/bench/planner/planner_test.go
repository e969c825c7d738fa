package main

import (
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
	if err != nil {
		t.Fatal(err)
	}
	if r.refused != 0 || r.hours > r.ideal*1.01 || r.hours < r.ideal*0.99 {
		t.Errorf("first() = %s, want within 1 %% of the ideal and nothing refused", r)
	}
}

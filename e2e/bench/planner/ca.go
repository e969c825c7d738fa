package main

import (
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// ca counts orders as Let's Encrypt says that it does: token buckets that begin
// full and refill evenly. Renewals in the window that it suggested are exempt.
type ca struct {
	buckets map[string]*bucket
	refused int
}

type bucket struct {
	tokens float64
	last   time.Time
}

func newCA() *ca { return &ca{buckets: map[string]*bucket{}} }

// order counts an order, and whether it would be refused.
func (c *ca) order(it issuance.Item, now time.Time) {
	if it.Exempt() {
		return
	}
	limits := issuance.LetsEncrypt
	taken := c.take("orders", limits.Orders, now)
	taken = c.take("set "+it.ID(), limits.Set, now) && taken
	for _, name := range it.Names {
		taken = c.take("domain "+issuance.Registered(name), limits.Domain, now) && taken
	}
	if !taken {
		c.refused++
	}
}

func (c *ca) take(name string, l issuance.Limit, now time.Time) bool {
	b, ok := c.buckets[name]
	if !ok {
		b = &bucket{float64(l.Count), now}
		c.buckets[name] = b
	}
	b.tokens = min(float64(l.Count), b.tokens+float64(l.Count)*float64(now.Sub(b.last))/float64(l.Per))
	b.last = now
	if b.tokens < 1-1e-6 {
		return false
	}
	b.tokens--
	return true
}

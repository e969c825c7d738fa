package issuance

import (
	"fmt"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

var t0 = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func item(tb testing.TB, names ...string) Item {
	tb.Helper()
	it, err := New(names, "", "", t0)
	if err != nil {
		tb.Fatal(err)
	}
	return it
}

// numbered is one of many items, each with a registered domain of its own.
func numbered(tb testing.TB, n int) Item { return item(tb, fmt.Sprintf("www.d%06d.com", n)) }

func order() Order {
	return Order{CA: "le", Key: fleet.NewSecret([]byte("key")), CSR: []byte("csr")}
}

func certificate(days int) Cert {
	return Cert{Bundle: fleet.Hash{1}, ID: "aki.serial", CA: "le", NotBefore: t0, NotAfter: t0.AddDate(0, 0, days)}
}

// must fails the test for a step that is refused.
func must(tb testing.TB) func(Item, error) Item {
	return func(it Item, err error) Item {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return it
	}
}

func ordering(tb testing.TB, names ...string) Item {
	tb.Helper()
	it := must(tb)(item(tb, names...).Begin(t0))
	return must(tb)(it.Place(order(), t0))
}

func issued(tb testing.TB, days int, names ...string) Item {
	tb.Helper()
	c := certificate(days)
	it := ordering(tb, names...)
	return must(tb)(it.Finish(c, RenewAt(it.ID(), c.NotBefore, c.NotAfter), t0))
}

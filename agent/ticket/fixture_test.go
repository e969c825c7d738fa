package ticket_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

// day is when the rings of the tests begin.
var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rawKey is a key of size bytes that no other seed gives.
func rawKey(size int, seed uint32) []byte {
	b := bytes.Repeat([]byte{0x80, 0xfe, 0x01, 0x9c}, size/4)
	binary.BigEndian.PutUint32(b, seed|1<<31)
	return b
}

func secret(size int, seed uint32) fleet.Secret { return fleet.NewSecret(rawKey(size, seed)) }

// freshKeys are n keys of the leader, with seeds from seed on.
func freshKeys(tb testing.TB, n int, seed uint32) []fleet.TicketKey {
	tb.Helper()
	var keys []fleet.TicketKey
	for i := range n {
		k, err := ticket.NewKey(bytes.NewReader(rawKey(fleet.KeySize256, seed+uint32(i))), day)
		if err != nil {
			tb.Fatal(err)
		}
		keys = append(keys, k)
	}
	return keys
}

// firstRing is a ring at epoch 1 with the keys 1 (current) and 2 (next).
func firstRing(tb testing.TB) fleet.Ring {
	tb.Helper()
	r, err := ticket.Create(ticket.Change{Now: day, By: "a", Cause: fleet.CauseCreated, Fresh: freshKeys(tb, 2, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// ringOf is firstRing after n rotations, an hour each, that keep everything.
// The keys are 1 to n+2, the highest is next.
func ringOf(tb testing.TB, n int) fleet.Ring {
	tb.Helper()
	r := firstRing(tb)
	for i := range n {
		c := rotation(tb, uint32(3+i))
		c.Now = day.Add(time.Duration(i+1) * time.Hour)
		var err error
		if r, err = ticket.Rotate(r, c); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

// rotation is a scheduled change, an hour after day, with one fresh key.
func rotation(tb testing.TB, seed uint32) ticket.Change {
	tb.Helper()
	return ticket.Change{
		Now: day.Add(time.Hour), By: "b", Cause: fleet.CauseSchedule,
		Fresh: freshKeys(tb, 1, seed), Keep: fleet.MaxRingKeys - 2,
	}
}

// seeds lists the seeds of the keys in the order nginx reads them.
func seeds(r fleet.Ring) []uint32 {
	var got []uint32
	for _, m := range r.Members() {
		name := m.Key.Name()
		got = append(got, binary.BigEndian.Uint32(name[:])&^(1<<31))
	}
	return got
}

// wantError checks the sentinel and that the message has the text.
func wantError(tb testing.TB, call string, err, sentinel error, text string) {
	tb.Helper()
	if !errors.Is(err, sentinel) || !strings.Contains(err.Error(), text) {
		tb.Errorf("%s = %v, want %v with %q", call, err, sentinel, text)
	}
	if err != nil && len(err.Error()) > 1000 {
		tb.Errorf("%s has an error of %d bytes, want a short one", call, len(err.Error()))
	}
}

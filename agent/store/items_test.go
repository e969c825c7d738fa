package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func item(tb testing.TB, names ...string) issuance.Item {
	tb.Helper()
	it, err := issuance.New(names, "", "", time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return it
}

// ordered is an item with a key and a CSR of usual sizes.
func ordered(tb testing.TB, names ...string) issuance.Item {
	tb.Helper()
	it, err := item(tb, names...).Begin(time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	o := issuance.Order{CA: "ca", Key: fleet.NewSecret(make([]byte, 138)), CSR: make([]byte, 300)}
	if it, err = it.Place(o, time.Now()); err != nil {
		tb.Fatal(err)
	}
	return it
}

func itemKey(it issuance.Item) string { return "issuance/" + it.ID()[:2] + "/" + it.ID() }

// journal lists the names of all items.
func (w world) journal(tb testing.TB) (names []string, bad map[string]error) {
	tb.Helper()
	bad, err := w.Items(tb.Context(), func(it issuance.Item) { names = append(names, it.Names[0]) })
	if err != nil {
		tb.Fatal(err)
	}
	slices.Sort(names)
	return names, bad
}

func TestItems(t *testing.T) {
	w := shared(t)
	session := w.lead(t, "a")
	if names, bad := w.journal(t); len(names)+len(bad) != 0 {
		t.Errorf("Items() of a new fleet = %v, %v, want none", names, bad)
	}
	var items []issuance.Item
	var want []string
	for i := range 700 { // more than one transaction by count and by bytes
		items = append(items, ordered(t, fmt.Sprintf("n%03d.test", i)))
		want = append(want, fmt.Sprintf("n%03d.test", i))
	}
	if err := w.PutItems(t.Context(), items, session); err != nil {
		t.Fatal(err)
	}
	if names, bad := w.journal(t); !slices.Equal(names, want) || len(bad) != 0 {
		t.Errorf("Items() = %d items, %v, want %d", len(names), bad, len(want))
	}
	got, err := w.Item(t.Context(), items[5].ID())
	if err != nil || got.State != issuance.Ordering || !got.Order.Key.Equal(items[5].Order.Key) {
		t.Errorf("Item() = %+v, %v, want %+v", got, err, items[5])
	}
	var ids []string
	for _, it := range items[1:] {
		ids = append(ids, it.ID())
	}
	if err := w.DropItems(t.Context(), ids, session); err != nil {
		t.Fatal(err)
	}
	if names, _ := w.journal(t); !slices.Equal(names, want[:1]) {
		t.Errorf("Items() after DropItems() = %v, want %v", names, want[:1])
	}
	if _, err := w.Item(t.Context(), ids[0]); !errors.Is(err, store.ErrMissing) {
		t.Errorf("Item() of a dropped one = %v, want %v", err, store.ErrMissing)
	}
}

func TestADeposedLeaderWritesNoItem(t *testing.T) {
	w := shared(t)
	session := w.lead(t, "a")
	it := item(t, "a.test")
	if err := w.PutItems(t.Context(), []issuance.Item{it}, session); err != nil {
		t.Fatal(err)
	}
	if err := w.Leads(t.Context(), session); err != nil {
		t.Errorf("Leads() of the leader = %v, want nil", err)
	}
	before := w.index(t, itemKey(it))
	w.destroy(t, session)
	writes := map[string]func() error{
		"item":     func() error { return w.PutItems(t.Context(), []issuance.Item{it}, session) },
		"deletion": func() error { return w.DropItems(t.Context(), []string{it.ID()}, session) },
		"request":  func() error { return w.DropRequests(t.Context(), []string{"1"}, session) },
		"ledger":   func() error { return w.PutUsed(t.Context(), "ca", nil, session) },
		"order":    func() error { return w.Leads(t.Context(), session) },
		"answer":   func() error { return w.PutAnswer(t.Context(), answer(0), session) },
		"account": func() error {
			_, err := w.PutAccount(t.Context(), account("k"), 0, session)
			return err
		},
	}
	for name, write := range writes {
		if err := write(); !errors.Is(err, store.ErrFenced) {
			t.Errorf("writing an %s = %v, want %v", name, err, store.ErrFenced)
		}
	}
	if w.index(t, itemKey(it)) != before || w.index(t, "acme/account") != 0 {
		t.Error("a former leader has written")
	}
}

func TestOneBadItemHidesNoOther(t *testing.T) {
	w := shared(t)
	session := w.lead(t, "a")
	a, b, c := item(t, "a.test"), item(t, "b.test"), item(t, "c.test")
	if err := w.PutItems(t.Context(), []issuance.Item{a, b, c}, session); err != nil {
		t.Fatal(err)
	}
	w.put(t, itemKey(a), w.raw(t, itemKey(b))) // sealed for another path
	plain := w.plain(t, itemKey(b))
	w.put(t, itemKey(c), w.forge(t, itemKey(c), uint64(c.Changed.Unix()), plain)) // sealed here, for other names
	names, bad := w.journal(t)
	if !slices.Equal(names, []string{"b.test"}) || !errors.Is(bad[a.ID()], store.ErrRecord) || !errors.Is(bad[c.ID()], store.ErrRecord) {
		t.Errorf("Items() = %v and refused %v, want b.test and two refused", names, bad)
	}
}

func request(tb testing.TB, do issuance.Verb, names ...string) issuance.Request {
	tb.Helper()
	return issuance.Request{At: time.Now().UTC().Truncate(time.Second), By: "test", Do: do, Wishes: []issuance.Wish{{Names: names}}}
}

func TestRequests(t *testing.T) {
	w := shared(t)
	var ids []string
	for i := range 3 {
		id, err := w.PutRequest(t.Context(), request(t, issuance.Add, fmt.Sprintf("n%d.test", i)))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	w.put(t, "intake/0", []byte("junk"))
	queue, err := w.Requests(t.Context())
	if err != nil || len(queue) != 4 || !errors.Is(queue[0].Err, store.ErrRecord) {
		t.Fatalf("Requests() = %+v, %v, want a refused one and three", queue, err)
	}
	for i, q := range queue[1:] {
		if q.ID != ids[i] || q.Err != nil || q.Request.Wishes[0].Names[0] != fmt.Sprintf("n%d.test", i) {
			t.Errorf("Requests()[%d] = %+v, want that of n%d.test", i+1, q, i)
		}
	}
	if err := w.DropRequests(t.Context(), append(ids, "0"), w.lead(t, "a")); err != nil {
		t.Fatal(err)
	}
	if queue, err := w.Requests(t.Context()); err != nil || len(queue) != 0 {
		t.Errorf("Requests() = %+v, %v, want none", queue, err)
	}
	if _, err := w.PutRequest(t.Context(), request(t, issuance.Add, "../x")); !errors.Is(err, fleet.ErrDomain) {
		t.Errorf("PutRequest(../x) = %v, want %v", err, fleet.ErrDomain)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	w := shared(t)
	for i := range 128 {
		w.put(t, fmt.Sprintf("intake/%d", i), []byte("x"))
	}
	if _, err := w.PutRequest(t.Context(), request(t, issuance.Add, "a.test")); !errors.Is(err, store.ErrBacklog) {
		t.Errorf("PutRequest() with 128 waiting = %v, want %v", err, store.ErrBacklog)
	}
}

func TestWatchRequestsIsWokenAtOnce(t *testing.T) {
	w := shared(t)
	seen := make(chan []store.QueuedRequest, 10)
	follow(t, func() error {
		return w.WatchRequests(t.Context(), func(q []store.QueuedRequest) { seen <- q })
	})
	id, err := w.PutRequest(t.Context(), request(t, issuance.Retry, "a.test"))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case q := <-seen:
		if len(q) != 1 || q[0].ID != id {
			t.Errorf("WatchRequests() saw %+v, want %s", q, id)
		}
	case <-time.After(soon):
		t.Error("WatchRequests() saw nothing")
	}
}

// follow runs a watch until the test's context ends.
func follow(t *testing.T, watch func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- watch() }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("watch ended with %v", err)
		}
	})
}

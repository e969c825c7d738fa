package store_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"sync"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

func TestPutRingThenRing(t *testing.T) {
	w := shared(t)
	if _, err := w.Ring(t.Context()); !errors.Is(err, store.ErrMissing) {
		t.Fatalf("Ring() on a new fleet = %v, want %v", err, store.ErrMissing)
	}
	put := w.create(t, 1)
	got, err := w.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Index != put.Index || !bytes.Equal(got.Sealed, put.Sealed) || got.Ring.Current.Name() != put.Ring.Current.Name() {
		t.Errorf("Ring() = index %d, want what PutRing returned, index %d", got.Index, put.Index)
	}
	if raw := got.Ring.Current.Raw.Reveal(); bytes.Contains(got.Sealed, raw[fleet.KeyNameSize:]) {
		t.Error("the record shows the key in clear")
	}
	if _, err := w.PutRing(t.Context(), ring(t, 2), put.Index, ""); err != nil {
		t.Errorf("PutRing() at the record's index = %v, want nil", err)
	}
}

func TestPutRingConflict(t *testing.T) {
	w := shared(t)
	first := w.create(t, 1)
	second := w.create(t, 2)
	for name, index := range map[string]uint64{"create over a record": 0, "old index": first.Index, "future index": second.Index + 1000} {
		t.Run(name, func(t *testing.T) {
			if _, err := w.PutRing(t.Context(), ring(t, 3), index, ""); !errors.Is(err, store.ErrConflict) {
				t.Errorf("PutRing() = %v, want %v", err, store.ErrConflict)
			}
			if got := w.index(t, "tickets/ring"); got != second.Index {
				t.Errorf("the record's index = %d, want %d: nothing written", got, second.Index)
			}
		})
	}
}

func TestPutRingFencesFormerLeader(t *testing.T) {
	w := shared(t)
	rec := w.create(t, 1)
	former := w.lead(t, "a")
	w.destroy(t, former)
	if _, err := w.PutRing(t.Context(), ring(t, 2), rec.Index, former); !errors.Is(err, store.ErrFenced) {
		t.Errorf("PutRing() with a lost session = %v, want %v", err, store.ErrFenced)
	}
	present := w.lead(t, "b")
	for name, index := range map[string]uint64{"right index": rec.Index, "wrong index too": 0} {
		if _, err := w.PutRing(t.Context(), ring(t, 2), index, former); !errors.Is(err, store.ErrFenced) {
			t.Errorf("%s: PutRing() by the former leader = %v, want %v", name, err, store.ErrFenced)
		}
	}
	if got := w.index(t, "tickets/ring"); got != rec.Index {
		t.Fatalf("the record's index = %d, want %d: nothing written", got, rec.Index)
	}
	if _, err := w.PutRing(t.Context(), ring(t, 2), rec.Index+1, present); !errors.Is(err, store.ErrConflict) {
		t.Errorf("PutRing() by the leader at a wrong index = %v, want %v", err, store.ErrConflict)
	}
	if _, err := w.PutRing(t.Context(), ring(t, 2), rec.Index, present); err != nil {
		t.Errorf("PutRing() by the leader = %v, want nil", err)
	}
}

func TestPutRingWithoutAnyLeader(t *testing.T) {
	w := shared(t)
	if _, err := w.PutRing(t.Context(), ring(t, 1), 0, "11111111-1111-1111-1111-111111111111"); !errors.Is(err, store.ErrFenced) {
		t.Errorf("PutRing() with an unknown session = %v, want %v", err, store.ErrFenced)
	}
}

func TestPutRingOneOfTwoWins(t *testing.T) {
	w := shared(t)
	index := w.create(t, 1).Index
	for epoch := uint64(2); epoch < 22; epoch++ {
		errs := make([]error, 2)
		recs := make([]store.RingRecord, 2)
		rings := []fleet.Ring{ring(t, epoch), ring(t, epoch)}
		var both sync.WaitGroup
		for i := range 2 {
			both.Go(func() { recs[i], errs[i] = w.PutRing(t.Context(), rings[i], index, "") })
		}
		both.Wait()
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		if errs[winner] != nil || !errors.Is(errs[1-winner], store.ErrConflict) {
			t.Fatalf("epoch %d: PutRing() twice = %v, %v, want one nil and one %v", epoch, errs[0], errs[1], store.ErrConflict)
		}
		got, err := w.Ring(t.Context())
		if err != nil || got.Ring.Current.Name() != rings[winner].Current.Name() {
			t.Fatalf("epoch %d: Ring() = %v, want the winner's ring", epoch, err)
		}
		index = recs[winner].Index
	}
}

func TestPutRingAnswerLost(t *testing.T) {
	w := shared(t)
	proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
	proxy.Set(testkit.Rule{Path: "/v1/txn", Times: 1, Fault: testkit.Lost})
	_, err := w.at(t, proxy.Addr, "").PutRing(t.Context(), ring(t, 1), 0, "")
	if err == nil || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrFenced) {
		t.Errorf("PutRing() without an answer = %v, want an error that leaves it open", err)
	}
	if _, err := w.Ring(t.Context()); err != nil {
		t.Errorf("Ring() = %v, want the ring that was written all the same", err)
	}
}

func TestRingRefusesWhatIsNotWhole(t *testing.T) {
	w := shared(t)
	good, err := w.SealRing(ring(t, 7))
	if err != nil {
		t.Fatal(err)
	}
	flipped := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	stranger, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := ticket.Encode(ring(t, 7))
	if err != nil {
		t.Fatal(err)
	}
	sealed := func(k *seal.Keyring, fleetName, path string, epoch uint64, plain []byte) []byte {
		b, err := k.Seal(fleetName, path, epoch, plain)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	path := w.key("tickets/ring")
	tests := map[string][]byte{
		"empty":              {},
		"truncated":          good[:len(good)-1],
		"header only":        good[:16],
		"longer":             append(bytes.Clone(good), 0),
		"first byte":         flipped(0),
		"epoch byte":         flipped(20),
		"last byte":          flipped(len(good) - 1),
		"middle":             flipped(len(good) / 2),
		"text":               []byte("hello"),
		"in clear":           plain,
		"of another path":    sealed(w.keyring, w.name, w.key("meta"), 7, plain),
		"of another fleet":   sealed(w.keyring, "other", path, 7, plain),
		"of another keyring": sealed(stranger, w.name, path, 7, plain),
		"of another epoch":   sealed(w.keyring, w.name, path, 8, plain),
		"not a ring":         sealed(w.keyring, w.name, path, 7, []byte(`{"schema":1}`)),
		"newer schema":       sealed(w.keyring, w.name, path, 7, bytes.Replace(plain, []byte(`"schema":1`), []byte(`"schema":2`), 1)),
	}
	for name, value := range tests {
		t.Run(name, func(t *testing.T) {
			w.put(t, "tickets/ring", value)
			if _, err := w.Ring(t.Context()); !errors.Is(err, store.ErrRecord) {
				t.Errorf("Ring() = %v, want %v", err, store.ErrRecord)
			}
		})
	}
	w.put(t, "tickets/ring", good)
	if _, err := w.Ring(t.Context()); err != nil {
		t.Errorf("Ring() of the whole record = %v, want nil", err)
	}
}

func TestNarrowTokenIsDeniedNotMissing(t *testing.T) {
	server := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulACL())
	w := newWorld(t, server.Addr, server.Token)
	rec := w.create(t, 1)
	if err := w.EnsureMeta(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	w.put(t, "nodes/a", []byte("x"))
	w.put(t, "nodes/b", []byte("x"))
	if err := w.Register(t.Context(), store.Registration{Node: "a", TTL: soon}); err != nil {
		t.Fatal(err)
	}
	narrow := w.at(t, server.Addr, token(t, server, `
		key_prefix "tlsfleet/`+w.name+`/nodes/a" { policy = "read" }
		service_prefix "" { policy = "read" }`))

	if _, err := narrow.Ring(t.Context()); !errors.Is(err, store.ErrDenied) || errors.Is(err, store.ErrMissing) {
		t.Errorf("Ring() = %v, want %v", err, store.ErrDenied)
	}
	if err := narrow.CheckMeta(t.Context()); !errors.Is(err, store.ErrDenied) || errors.Is(err, store.ErrMissing) {
		t.Errorf("CheckMeta() = %v, want %v", err, store.ErrDenied)
	}
	for name, session := range map[string]string{"alone": "", "fenced": w.lead(t, "a")} {
		_, err := narrow.PutRing(t.Context(), ring(t, 2), rec.Index, session)
		if !errors.Is(err, store.ErrDenied) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrFenced) {
			t.Errorf("%s: PutRing() = %v, want %v only", name, err, store.ErrDenied)
		}
	}
	if good, bad, err := narrow.Reports(t.Context()); !errors.Is(err, store.ErrDenied) {
		t.Errorf("Reports() = %v, %v, %v, want %v, not the part it may see", good, bad, err, store.ErrDenied)
	}
	if nodes, err := narrow.Nodes(t.Context()); !errors.Is(err, store.ErrDenied) {
		t.Errorf("Nodes() = %v, %v, want %v, not the part it may see", nodes, err, store.ErrDenied)
	}
	if err := narrow.Register(t.Context(), store.Registration{Node: "a", TTL: soon}); !errors.Is(err, store.ErrDenied) {
		t.Errorf("Register() = %v, want %v", err, store.ErrDenied)
	}
}

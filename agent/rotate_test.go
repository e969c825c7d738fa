package agent

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// TestRotateMeetsAnotherWriter has the ring written between an operator's look
// at it and the write: as it is, under another seal, or changed.
func TestRotateMeetsAnotherWriter(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		other func(t *testing.T, r fleet.Ring) fleet.Ring
		epoch uint64
		want  error
	}{
		"sealed anew": {func(_ *testing.T, r fleet.Ring) fleet.Ring { return r }, 2, nil},
		"changed":     {func(t *testing.T, r fleet.Ring) fleet.Ring { return adopted(t, r, 1) }, 2, ErrRaced},
		"event noted": {func(_ *testing.T, r fleet.Ring) fleet.Ring { r.Events = []string{"e"}; return r }, 1, ErrRaced},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keyring, err := seal.Generate(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			cfg, shared := config.Config{Fleet: testkit.FleetName(t)}, testkit.SharedConsul(t).Addr
			proxy := testkit.FaultProxy(t, shared)
			var direct, delayed *store.Store
			for address, s := range map[string]**store.Store{shared: &direct, proxy.Addr: &delayed} {
				if *s, err = store.Open(store.Config{Address: address, Fleet: cfg.Fleet, Log: testkit.Logger(t)}, keyring); err != nil {
					t.Fatal(err)
				}
			}
			ch := ticket.Change{Now: time.Now().UTC(), By: "test", Cause: fleet.CauseCreated}
			if err := freshKeys(&ch, handlers.Create); err != nil {
				t.Fatal(err)
			}
			first, err := ticket.Create(ch)
			if err != nil {
				t.Fatal(err)
			}
			rec, err := direct.PutRing(t.Context(), first, 0, "")
			if err != nil {
				t.Fatal(err)
			}
			g := newGate("/v1/txn", "tickets/ring", 0, false)
			proxy.Set(g.rule())
			rotated := make(chan error, 1)
			go func() {
				_, err := (&Console{cfg: cfg, store: delayed}).Rotate(t.Context(), RotateRequest{By: "operator", Key: ticketSecret(2)})
				rotated <- err
			}()
			<-g.reached
			if _, err := direct.PutRing(t.Context(), tt.other(t, first), rec.Index, ""); err != nil {
				t.Fatal(err)
			}
			close(g.release)
			if err := <-rotated; !errors.Is(err, tt.want) {
				t.Errorf("Rotate() = %v, want %v", err, tt.want)
			}
			if now, err := direct.Ring(t.Context()); err != nil || now.Ring.Epoch != tt.epoch {
				t.Errorf("Ring() = epoch %d, %v, want %d", now.Ring.Epoch, err, tt.epoch)
			}
		})
	}
}

func ticketSecret(b byte) fleet.Secret { return fleet.NewSecret(bytes.Repeat([]byte{b, ^b, 7}, 16)) }

func adopted(t *testing.T, r fleet.Ring, key byte) fleet.Ring {
	t.Helper()
	r, err := ticket.Adopt(r, ticketSecret(key), fleet.OriginFile, ticket.Change{Now: time.Now().UTC(), By: "test", Cause: fleet.CauseAdopt})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

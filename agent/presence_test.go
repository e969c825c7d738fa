package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestReportThatSaysNothingNewWaits: a proof each minute that finds what the last
// one did is not worth a write.
func TestReportThatSaysNothingNewWaits(t *testing.T) {
	t.Parallel()
	keyring, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	proxy := testkit.FaultProxy(t, testkit.SharedConsul(t).Addr)
	name := testkit.FleetName(t)
	st, err := store.Open(store.Config{Address: proxy.Addr, Fleet: name, Log: testkit.Logger(t)}, keyring)
	if err != nil {
		t.Fatal(err)
	}
	woken := newWake()
	probs := newProblems(woken.give)
	v := &view{node: "a", problems: probs, changed: woken.give, proofs: []fleet.ListenerProof{{Listen: "443"}}}
	p := &presence{log: testkit.Logger(t), store: st, view: v, problems: probs, reg: store.Registration{Node: "a", TTL: time.Minute}, wake: woken}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- p.Report(ctx) }()
	proved := func(epoch uint64) {
		t.Helper()
		testkit.Eventually(t, 20*time.Second, fmt.Sprintf("the report of epoch %d", epoch), func() error {
			reports, _, err := st.Reports(t.Context())
			if err == nil && (len(reports) != 1 || reports[0].Proved != epoch) {
				err = fmt.Errorf("reports are %+v", reports)
			}
			return err
		})
	}
	proved(0)
	for range 12 {
		v.update(func() { v.proofs = []fleet.ListenerProof{{Listen: "443"}} })
		testkit.Eventually(t, 20*time.Second, "somebody who takes the news", func() error {
			if len(woken) > 0 {
				return errors.New("nobody has")
			}
			return nil
		})
	}
	v.update(func() { v.proved = 7 })
	proved(7)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Report() = %v, want nil", err)
	}
	// It is written anew at each beat all the same, and the first one also by who
	// looks before it is there.
	most := 3 + int(time.Since(began)/reportEvery) + 1
	if n := proxy.Seen("PUT", "/v1/kv/tlsfleet/"+name+"/nodes/a"); n > most {
		t.Errorf("%d writes of two reports that differ, want at most %d", n, most)
	}
}

package dns01

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// idle is nil once a responder keeps nothing for any record.
func (r *Responder) idle() error {
	r.locks.mu.Lock()
	defer r.locks.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.locks.held) > 0 || len(r.open) > 0 {
		return fmt.Errorf("%d locks and %d records", len(r.locks.held), len(r.open))
	}
	return nil
}

// TestUpdateThatHangsEndsByItself ends the lease while a DNS server takes its
// time for an update: nobody waits for it but who needs the same record.
func TestUpdateThatHangsEndsByItself(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	slow := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	zone := zoneOf(bind, "rfc2136", signed(slow))
	zone.Settings["DNSUPDATE_DNS_TIMEOUT"] = fleet.NewSecret([]byte("5"))
	r := responder(t, bind, zone)
	slow.Freeze(t)
	lease, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Present(lease, "a.test", "token", "token.thumbprint") }()
	var turn chan struct{}
	testkit.Eventually(t, 50*time.Second, "the update", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if o := r.open["token"]; o != nil {
			if p, ok := o.provider.(*legoProvider); ok {
				turn = p.turn
			}
		}
		if len(turn) == 0 {
			return errors.New("it is not sent")
		}
		return nil
	})
	end()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Present() = %v, want %v", err, context.Canceled)
	}
	r.CleanUp(lease, "a.test", "token", "token.thumbprint")
	if len(turn) == 0 || r.idle() == nil {
		t.Error("the record is let go while the update is under way")
	}
	testkit.Eventually(t, 50*time.Second, "the end of the update", r.idle)
	if len(turn) > 0 {
		t.Error("the update goes on after the record was let go")
	}
	slow.Thaw(t)
}

// TestNothingBeginsAfterTheLease has a lease be over whose context is not, as in
// a process that was frozen.
func TestNothingBeginsAfterTheLease(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	script := nsupdate(t, bind)
	web := httpUpdates(t, script)
	errOver := errors.New("the lease is over")
	tests := map[string]Zone{
		"rfc2136": zoneOf(bind, "rfc2136", signed(bind)),
		"exec":    zoneOf(bind, "exec", secrets(map[string]string{"EXEC_PATH": script})),
		"httpreq": zoneOf(bind, "httpreq", secrets(map[string]string{
			"HTTPREQ_ENDPOINT": web.URL, "HTTPREQ_USERNAME": "fleet", "HTTPREQ_PASSWORD": "right-password",
		})),
	}
	for name, zone := range tests {
		t.Run(name, func(t *testing.T) {
			r := responder(t, bind, zone)
			over := fleet.WithLease(t.Context(), func() error { return errOver })
			before := bind.Added(t, recordName)
			if err := r.Present(over, "a.test", "token", "token.thumbprint"); !errors.Is(err, errOver) {
				t.Errorf("Present() = %v, want %v", err, errOver)
			}
			if n := bind.Added(t, recordName) - before; n > 0 {
				t.Errorf("%d records were set after the lease, want none", n)
			}
			r.CleanUp(over, "a.test", "token", "token.thumbprint")
			if err := r.Present(t.Context(), "a.test", "token", "token.thumbprint"); err != nil {
				t.Fatalf("Present() = %v", err)
			}
			r.CleanUp(over, "a.test", "token", "token.thumbprint")
			if got := bind.TXT(t, recordName); len(got) != 1 {
				t.Errorf("TXT after CleanUp() without a lease = %q, want the record: the next leader may need it", got)
			}
			r.CleanUp(t.Context(), "a.test", "token", "token.thumbprint")
			testkit.Eventually(t, 50*time.Second, "nothing to be kept", r.idle)
		})
	}
}

// TestUpdateWaitsNoLongerThanTheLease has a provider wait for others to be done
// with other DNS servers.
func TestUpdateWaitsNoLongerThanTheLease(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	r := responder(t, bind, zoneOf(bind, "rfc2136", signed(bind)))
	lease, end := context.WithCancel(t.Context())
	held, release, left := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		left <- asking([]string{"127.0.0.1:1"}, func() error { close(held); <-release; return nil })
	}()
	<-held
	done := make(chan error, 1)
	go func() { done <- r.Present(lease, "a.test", "token", "token.thumbprint") }()
	testkit.Eventually(t, 50*time.Second, "the turn", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.open) == 0 {
			return errors.New("nobody waits")
		}
		return nil
	})
	end()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Present() = %v, want %v", err, context.Canceled)
	}
	r.CleanUp(lease, "a.test", "token", "token.thumbprint")
	close(release)
	if err := <-left; err != nil {
		t.Errorf("asking() = %v", err)
	}
	testkit.Eventually(t, 50*time.Second, "nothing to be kept", r.idle)
	if n := bind.Added(t, recordName); n > 0 {
		t.Errorf("%d records were set after the lease, want none", n)
	}
}

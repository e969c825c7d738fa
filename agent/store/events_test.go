package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

const refresh = "ssl-session-ticket-refresh"

func (w world) fire(t *testing.T, name, payload string) string {
	t.Helper()
	id, _, err := w.client.Event().Fire(&api.UserEvent{Name: name, Payload: []byte(payload)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestWatchEvents(t *testing.T) {
	server := testkit.Consul(t, testkit.ConsulDev())
	w := newWorld(t, server.Addr, "")
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan []fleet.Event, 64)
	done := make(chan error, 1)
	before := w.fire(t, refresh, "first")
	testkit.Eventually(t, soon, "the event", func() error {
		if list, err := w.Events(t.Context()); err != nil || len(list) != 1 {
			return fmt.Errorf("events %v, %w", list, err)
		}
		return nil
	})
	go func() {
		done <- w.WatchEvents(ctx, []string{refresh, "tlsfleet-rotate-ticket"}, func(e []fleet.Event) { calls <- e })
	}()
	next := func() []fleet.Event {
		select {
		case got := <-calls:
			return got
		case <-time.After(soon):
			t.Fatal("WatchEvents did not tell of the event")
			return nil
		}
	}
	if got := next(); len(got) != 1 || got[0].ID != before || got[0].Name != refresh || string(got[0].Payload) != "first" || got[0].LTime == 0 {
		t.Errorf("WatchEvents called with %+v, want event %s from before", got, before)
	}
	w.fire(t, "somebody-elses", "x")
	start := time.Now()
	second := w.fire(t, "tlsfleet-rotate-ticket", "")
	if got := next(); len(got) != 2 || got[0].ID != before || got[1].ID != second || got[1].LTime <= got[0].LTime {
		t.Errorf("WatchEvents called with %+v, want %s and %s", got, before, second)
	}
	t.Logf("an event was seen after %s", time.Since(start))
	server.Stop(t)
	server.Start(t)
	after := w.fire(t, refresh, "third")
	for {
		if got := next(); len(got) == 1 && got[0].ID == after {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("WatchEvents() = %v, want nil", err)
	}
}

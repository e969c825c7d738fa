package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestLinkTellsWhereConsulIs(t *testing.T) {
	t.Parallel()
	w := shared(t)
	tests := map[string]struct{ here, tls bool }{
		"127.0.0.1:8500":        {true, false},
		"http://localhost:8500": {true, false},
		"https://[::1]:8501":    {true, true},
		"unix:///run/c.sock":    {true, false},
		"10.1.2.3:8500":         {false, false},
		"http://consul:8500":    {false, false},
		"https://consul:8501":   {false, true},
	}
	for address, tt := range tests {
		if got, want := w.at(t, address, "").Link(), (store.Link{Address: address, Here: tt.here, TLS: tt.tls}); got != want {
			t.Errorf("Link() of %s = %+v, want %+v", address, got, want)
		}
	}
}

func TestLocalTellsOfConsul(t *testing.T) {
	t.Parallel()
	server := testkit.Consul(t, testkit.ConsulACL(), testkit.ConsulGossip())
	w := newWorld(t, server.Addr, server.Token)
	got, err := w.Local(t.Context())
	if err != nil || got.Node != server.Node || !got.Encrypted || got.Version != "1.20.6" || time.Since(got.Date).Abs() > time.Minute {
		t.Errorf("Local() = %+v, %v, want what Consul says of itself", got, err)
	}
	if err := w.Reach(t.Context()); err != nil {
		t.Errorf("Reach() = %v, want nil", err)
	}
	if got, err := w.at(t, server.Addr, token(t, server, "")).Local(t.Context()); !errors.Is(err, store.ErrDenied) {
		t.Errorf("Local() without a right = %+v, %v, want %v", got, err, store.ErrDenied)
	}
	if err := newWorld(t, "127.0.0.1:1", "").Reach(t.Context()); err == nil {
		t.Error("Reach() of nobody = nil, want an error")
	}
}

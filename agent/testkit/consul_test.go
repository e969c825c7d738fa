package testkit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func TestConsulKeepsStateAndAddressOverRestart(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*ConsulServer, TB){
		"stop": (*ConsulServer).Stop,
		"kill": (*ConsulServer).Kill,
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Consul(t)
			put(t, s.Client(t), "a", "1")
			end(s, t)
			if _, _, err := s.Client(t).KV().Get("a", nil); err == nil {
				t.Fatal("Get(a) with the server ended = nil error, want one")
			}
			s.Start(t)
			pair, _, err := s.Client(t).KV().Get("a", nil)
			if err != nil || pair == nil || string(pair.Value) != "1" {
				t.Errorf("Get(a) after Start = %v, %v, want 1", pair, err)
			}
		})
	}
}

func TestFrozenConsulAnswersOnlyWhenThawed(t *testing.T) {
	t.Parallel()
	s := Consul(t, ConsulDev())
	s.Freeze(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, _, err := s.Client(t).KV().Get("a", (&api.QueryOptions{}).WithContext(ctx))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get(a) while frozen = %v, want a deadline error", err)
	}
	s.Thaw(t)
	Eventually(t, 50*time.Second, "an answer", func() error {
		_, _, err := s.Client(t).KV().Get("a", nil)
		return err
	})
}

func TestConsulACLDeniesByDefault(t *testing.T) {
	t.Parallel()
	s := Consul(t, ConsulACL())
	put(t, s.Client(t), "a", "1")
	_, err := s.ClientWith(t, "").KV().Put(&api.KVPair{Key: "a"}, nil)
	var status api.StatusError
	if !errors.As(err, &status) || status.Code != http.StatusForbidden {
		t.Errorf("Put(a) without token = %v, want status 403", err)
	}
}

func TestSharedConsulIsOneServerWithShortSessions(t *testing.T) {
	t.Parallel()
	s := SharedConsul(t)
	if again := SharedConsul(t); again != s {
		t.Errorf("SharedConsul() = %p, want %p as before", again, s)
	}
	id, _, err := s.Client(t).Session().Create(&api.SessionEntry{TTL: "1s"}, nil)
	if err != nil {
		t.Fatalf("create session of 1 s: %v", err)
	}
	Eventually(t, 50*time.Second, "the end of a session nobody renews", func() error {
		entry, _, err := s.Client(t).Session().Info(id, nil)
		if err == nil && entry != nil {
			err = fmt.Errorf("session %s lives", id)
		}
		return err
	})
}

func put(t *testing.T, c *api.Client, key, value string) {
	t.Helper()
	if _, err := c.KV().Put(&api.KVPair{Key: key, Value: []byte(value)}, nil); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

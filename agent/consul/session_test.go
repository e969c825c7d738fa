package consul_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func openSession(tb testing.TB, client *api.Client, ttl time.Duration) *consul.Session {
	tb.Helper()
	s, err := consul.OpenSession(tb.Context(), client, consul.SessionOptions{
		Name: tb.Name(), TTL: ttl, Behavior: api.SessionBehaviorDelete,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// throughProxy is a client that reaches a server by a proxy.
func throughProxy(t *testing.T, server *testkit.ConsulServer) (*api.Client, *testkit.Proxy) {
	t.Helper()
	proxy := testkit.FaultProxy(t, server.Addr)
	client, err := api.NewClient(&api.Config{Address: proxy.Addr})
	if err != nil {
		t.Fatal(err)
	}
	return client, proxy
}

func TestOpenSessionOnFreshServer(t *testing.T) {
	server := testkit.Consul(t, testkit.ConsulDev())
	server.Stop(t)
	opened := make(chan error, 1)
	go func() {
		_, err := consul.OpenSession(t.Context(), server.Client(t), consul.SessionOptions{
			Name: "early", TTL: 10 * time.Second, Behavior: api.SessionBehaviorDelete,
		})
		opened <- err
	}()
	server.Start(t)
	if err := <-opened; err != nil {
		t.Errorf("OpenSession() while the server starts = %v, want nil", err)
	}
}

func TestOpenSessionWithoutRightToLook(t *testing.T) {
	server := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulACL())
	client := server.ClientWith(t, token(t, server, `session "`+server.Node+`" { policy = "write" }`))
	start := time.Now()
	s := openSession(t, client, 10*time.Second)
	if took := time.Since(start); took > 9*time.Second { // it would be 10
		t.Errorf("OpenSession() took %s, want no wait for a catalog it may not read", took)
	}
	if err := s.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSessionThatNobodyWaitsForIsDestroyed: Consul makes what it was asked for.
func TestSessionThatNobodyWaitsForIsDestroyed(t *testing.T) {
	t.Parallel()
	server := testkit.SharedConsul(t)
	client, proxy := throughProxy(t, server)
	ctx, cancel := context.WithCancel(t.Context())
	made := make(chan struct{})
	proxy.Set(testkit.Rule{Path: "/v1/session/create", Fault: func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		defer close(made)
		cancel()
		pass.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	}})
	o := consul.SessionOptions{Name: testkit.FleetName(t), TTL: time.Minute, Behavior: api.SessionBehaviorDelete}
	if _, err := consul.OpenSession(ctx, client, o); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenSession() = %v, want %v", err, context.Canceled)
	}
	<-made
	direct := server.Client(t)
	testkit.Eventually(t, 50*time.Second, "the end of the session", func() error {
		all, _, err := direct.Session().List(nil)
		for _, s := range all {
			if s.Name == o.Name {
				err = errors.New("it is there: " + s.ID)
			}
		}
		return err
	})
}

// token makes a token with these rules only.
func token(tb testing.TB, server *testkit.ConsulServer, rules string) string {
	tb.Helper()
	acl := server.Client(tb).ACL()
	policy, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: testkit.FleetName(tb), Rules: rules}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	t, _, err := acl.TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return t.SecretID
}

func TestKeepSeesDestroyedSession(t *testing.T) {
	client := testkit.SharedConsul(t).Client(t)
	s := openSession(t, client, 5*time.Second)
	kept := make(chan error, 1)
	go func() { kept <- s.Keep(t.Context()) }()
	if _, err := client.Session().Destroy(s.ID(), nil); err != nil {
		t.Fatal(err)
	}
	if err := <-kept; !errors.Is(err, consul.ErrLost) {
		t.Errorf("Keep() = %v, want %v", err, consul.ErrLost)
	}
}

func TestKeepOutlivesTTL(t *testing.T) {
	t.Parallel()
	client := testkit.SharedConsul(t).Client(t)
	const ttl = 6 * time.Second
	for name, keep := range map[string]func(*consul.Session, context.Context) error{
		"Keep": (*consul.Session).Keep, "KeepLease": (*consul.Session).KeepLease,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openSession(t, client, ttl)
			ctx, cancel := context.WithTimeout(t.Context(), 5*ttl/2)
			defer cancel()
			if err := keep(s, ctx); err != nil {
				t.Errorf("%s() = %v, want nil when the context ends", name, err)
			}
			entry, _, err := client.Session().Info(s.ID(), nil)
			if err != nil || entry == nil {
				t.Errorf("Info() = %v, %v, want the session to live after two TTLs and a half", entry, err)
			}
			if err := s.Destroy(ctx); err != nil {
				t.Errorf("Destroy() = %v after the context ended, want nil", err)
			}
			if entry, _, err := client.Session().Info(s.ID(), nil); err != nil || entry != nil {
				t.Errorf("Info() = %v, %v, want no session after Destroy", entry, err)
			}
		})
	}
}

func TestKeepLeaseEndsWithinTTLWhenConsulFreezes(t *testing.T) {
	const ttl = 2 * time.Second
	server := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulSessionTTLMin(time.Second))
	s := openSession(t, server.Client(t), ttl)
	kept := make(chan error, 1)
	go func() { kept <- s.KeepLease(t.Context()) }()
	leased := fleet.WithLease(t.Context(), s.Lasts)
	if err := fleet.Leased(leased); err != nil {
		t.Errorf("Leased() = %v, want nil while it lasts", err)
	}
	server.Freeze(t)
	frozen := time.Now()
	err := <-kept
	if err := fleet.Leased(leased); !errors.Is(err, consul.ErrExpired) {
		t.Errorf("Leased() = %v after the lease, want %v", err, consul.ErrExpired)
	}
	if took := time.Since(frozen); !errors.Is(err, consul.ErrExpired) || took > ttl+ttl*3/4 { // Consul waits for another whole TTL
		t.Errorf("KeepLease() = %v after %s, want %v within %s", err, took, consul.ErrExpired, ttl)
	}
	server.Thaw(t)
}

func TestKeepSurvivesOneHungRenewal(t *testing.T) {
	t.Parallel()
	server := testkit.SharedConsul(t)
	client, proxy := throughProxy(t, server)
	s := openSession(t, client, 10*time.Second)
	proxy.Set(testkit.Rule{Path: "/v1/session/renew", Times: 1, Fault: testkit.Hang})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kept := make(chan error, 1)
	go func() { kept <- s.KeepLease(ctx) }()
	testkit.Eventually(t, 50*time.Second, "renewals after the hung one", func() error {
		if n := proxy.Seen("PUT", "/v1/session/renew"); n < 5 {
			return errors.New("too few")
		}
		return nil
	})
	cancel()
	if err := <-kept; err != nil {
		t.Errorf("KeepLease() = %v, want nil: one lost answer is no lost lease", err)
	}
}

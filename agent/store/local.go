package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// Local is what the Consul agent says of itself that the store talks to.
type Local struct {
	Node      string
	Version   string    // "1.20.6"
	Encrypted bool      // gossip
	Date      time.Time // of its answer, whole seconds; zero: it gave none
}

// Local asks the Consul agent. ErrDenied if the token may not read it.
func (s *Store) Local(ctx context.Context) (Local, error) {
	var self struct {
		Config struct{ NodeName, Version string }
		Stats  map[string]map[string]string
	}
	var l Local
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, dateKey{}, &l.Date), requestTimeout)
	defer cancel()
	if _, err := s.client.Raw().Query("/v1/agent/self", &self, new(api.QueryOptions).WithContext(ctx)); err != nil {
		return l, fmt.Errorf("ask Consul about itself: %w", denied(err))
	}
	l.Node, l.Version, l.Encrypted = self.Config.NodeName, self.Config.Version, self.Stats["serf_lan"]["encrypted"] == "true"
	return l, nil
}

// Reach is nil if Consul answers and has a leader. No right is needed.
func (s *Store) Reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	leader, err := s.client.Status().LeaderWithQueryOptions(new(api.QueryOptions).WithContext(ctx))
	if err != nil {
		return fmt.Errorf("reach Consul: %w", err)
	}
	if leader == "" {
		return errors.New("reach Consul: its servers have no leader")
	}
	return nil
}

// Link is how the store talks to Consul.
type Link struct {
	Address string
	Here    bool // on this host, as a unix socket is
	TLS     bool
}

// Link is how the store talks to Consul.
func (s *Store) Link() Link { return s.link }

// linkOf reads what consul/api makes of an address.
func linkOf(c *api.Config) Link {
	scheme, rest, found := strings.Cut(c.Address, "://")
	if !found {
		scheme, rest = c.Scheme, c.Address
	}
	if scheme == "unix" {
		return Link{Address: c.Address, Here: true}
	}
	host, _, err := net.SplitHostPort(rest)
	if err != nil {
		host = rest
	}
	ip := net.ParseIP(host)
	return Link{Address: c.Address, Here: host == "localhost" || ip != nil && ip.IsLoopback(), TLS: scheme == "https" || c.Scheme == "https"}
}

// dateKey is the context's key of a time to be set to an answer's Date.
type dateKey struct{}

// dateTransport notes when an answer was given, which consul/api does not tell.
type dateTransport struct{ next http.RoundTripper }

func (t dateTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	into, wanted := req.Context().Value(dateKey{}).(*time.Time)
	if err != nil || !wanted {
		return resp, err
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		*into = at
	}
	return resp, nil
}

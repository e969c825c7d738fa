package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/site"
)

// MaxInstances is how many instances of a service are taken.
const MaxInstances = 5000

// ErrInstances means that a service has more instances than MaxInstances.
var ErrInstances = errors.New("too many instances of a service")

// Service says which instances of a service in Consul's catalog are meant.
type Service struct {
	Name        string
	Tag         string // empty: any
	Datacenter  string // empty: the node's own
	PassingOnly bool   // else those with a warning too
	Weights     bool   // as the catalog has them; else all the same
}

// String is the service as one word, for a map and a log.
func (s Service) String() string {
	return strings.Join([]string{s.Name, s.Tag, s.Datacenter, strconv.FormatBool(s.PassingOnly), strconv.FormatBool(s.Weights)}, "/")
}

// Instances is what the catalog says of a service.
type Instances struct {
	Backends []site.Backend // sorted by address, each once; every address is checked
	Unusable int            // instances that cannot be reached by an address and a port
	Why      string         // of one of them
}

// WatchService calls fn with the instances of a service whenever they may have
// changed, and with errors, which say nothing about the instances: ErrInstances,
// or any other, which means that there is no contact. A token that may not read
// the service, or its nodes, sees none. It returns when ctx ends. A service that
// is polled is asked for each ten seconds, and holds no connection meanwhile.
func (s *Store) WatchService(ctx context.Context, want Service, polled bool, fn func(Instances, error)) {
	pace := s.pace
	if polled {
		pace.Wait, pace.Every, pace.Burst = time.Millisecond, 10*time.Second, 1
	}
	read := func(q *api.QueryOptions) (*api.QueryMeta, error) {
		entries, meta, err := s.readService(want, q)
		if err != nil {
			return nil, err
		}
		fn(want.instances(entries))
		return meta, nil
	}
	pace.Watch(ctx, read, func(err error) { fn(Instances{}, err) })
}

// Instances is what the catalog says of a service now, as WatchService tells it.
func (s *Store) Instances(ctx context.Context, want Service) (Instances, error) {
	q, cancel := read(ctx)
	defer cancel()
	entries, _, err := s.readService(want, q) //nolint:contextcheck // q has it
	if err != nil {
		return Instances{}, err
	}
	return want.instances(entries)
}

func (s *Store) readService(want Service, q *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
	q.Datacenter = want.Datacenter
	if want.Tag != "" {
		// In the query, so that changes of others do not end it.
		q.Filter = fmt.Sprintf("%s in Service.Tags", strconv.Quote(want.Tag))
	}
	entries, meta, err := s.client.Health().Service(want.Name, "", want.PassingOnly, q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read service %s: %w", want.Name, denied(err))
	}
	return entries, meta, nil
}

// instances is the entries as backends.
func (s Service) instances(entries []*api.ServiceEntry) (Instances, error) {
	if len(entries) > MaxInstances {
		return Instances{}, fmt.Errorf("read service %s: %w: %d, at most %d", s.Name, ErrInstances, len(entries), MaxInstances)
	}
	var in Instances
	byAddress := map[string]site.Backend{}
	for _, e := range entries {
		status := e.Checks.AggregatedStatus()
		if status != api.HealthPassing && (s.PassingOnly || status != api.HealthWarning) {
			continue
		}
		b, err := s.backend(e, status)
		if err != nil {
			in.Unusable++
			in.Why = fmt.Sprintf("%.80s on %.80s: %s", e.Service.ID, e.Node.Node, err)
			continue
		}
		if b.Weight > 0 {
			byAddress[b.Address] = b
		}
	}
	for _, b := range byAddress {
		in.Backends = append(in.Backends, b)
	}
	slices.SortFunc(in.Backends, func(a, b site.Backend) int { return cmp.Compare(a.Address, b.Address) })
	return in, nil
}

// backend is one instance; a weight of 0 takes it out.
func (s Service) backend(e *api.ServiceEntry, status string) (site.Backend, error) {
	text := cmp.Or(e.Service.Address, e.Node.Address)
	b := site.Backend{Weight: 1}
	if s.Weights {
		b.Weight = e.Service.Weights.Passing
		if status == api.HealthWarning {
			b.Weight = e.Service.Weights.Warning
		}
		if b.Weight == 0 {
			return b, nil
		}
	}
	if e.Service.SocketPath != "" {
		b.Address = "unix:" + e.Service.SocketPath
		return b, b.Check()
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || e.Service.Port < 1 || e.Service.Port > 65535 {
		return b, fmt.Errorf("%.80q with port %d is not an IP address with a port", text, e.Service.Port)
	}
	b.Address = netip.AddrPortFrom(ip, uint16(e.Service.Port)).String() //nolint:gosec // within its bounds
	return b, b.Check()
}

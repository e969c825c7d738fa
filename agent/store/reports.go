package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// BadReport is a report that was refused. It says nothing about the node
// but that somebody wrote there.
type BadReport struct {
	Node string // as the key says, not checked
	Err  error  // wraps ErrRecord
}

// Reports reads the reports of all nodes that have one, sorted by node. A node
// without one may still serve. An error, never a short list, if Consul does not
// vouch for the list being whole.
func (s *Store) Reports(ctx context.Context) ([]fleet.Report, []BadReport, error) {
	q, cancel := read(ctx)
	defer cancel()
	pairs, _, err := s.listReports(q)
	if err != nil {
		return nil, nil, err
	}
	good, bad := s.openReports(pairs)
	return good, bad, nil
}

// Report reads the report of one node; ErrMissing if it has none now, ErrRecord
// if it is refused.
func (s *Store) Report(ctx context.Context, node string) (fleet.Report, error) {
	if err := fleet.CheckName(node); err != nil {
		return fleet.Report{}, fmt.Errorf("read report: %w", err)
	}
	q, cancel := read(ctx)
	defer cancel()
	pair, _, err := s.find(reportsPath+node, q)
	if err != nil {
		return fleet.Report{}, err
	}
	r, err := s.openReport(pair)
	if err != nil {
		return fleet.Report{}, fmt.Errorf("open report of %s: %w: %w", node, ErrRecord, err)
	}
	return r, nil
}

// WatchReports calls fn with all reports, at the start, each time one of them
// changed, appeared or went, and when contact comes back. It returns nil when
// ctx ends; errors are logged, once until contact comes back.
func (s *Store) WatchReports(ctx context.Context, fn func([]fleet.Report, []BadReport)) error {
	edge := s.edge("reports not readable", "reports readable again")
	var last string
	read := func(q *api.QueryOptions) (*api.QueryMeta, error) {
		pairs, meta, err := s.listReports(q)
		if err != nil {
			return nil, err
		}
		edge.good()
		if now := versions(pairs); now != last {
			last = now
			fn(s.openReports(pairs))
		}
		return meta, nil
	}
	s.pace.Watch(ctx, read, func(err error) {
		edge.bad(err)
		last = ""
	})
	return nil
}

func (s *Store) listReports(q *api.QueryOptions) (api.KVPairs, *api.QueryMeta, error) {
	pairs, meta, err := s.client.KV().List(s.key(reportsPath), q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list reports: %w", denied(err))
	}
	return pairs, meta, nil
}

// openReports sorts by node, because Consul sorts by key.
func (s *Store) openReports(pairs api.KVPairs) ([]fleet.Report, []BadReport) {
	var good []fleet.Report
	var bad []BadReport
	for _, pair := range pairs {
		node := s.nodeOf(pair.Key)
		r, err := s.openReport(pair)
		if err != nil {
			bad = append(bad, BadReport{Node: node, Err: fmt.Errorf("open report of %q: %w: %w", node, ErrRecord, err)})
			continue
		}
		good = append(good, r)
	}
	slices.SortFunc(good, func(a, b fleet.Report) int { return cmp.Compare(a.Node, b.Node) })
	slices.SortFunc(bad, func(a, b BadReport) int { return cmp.Compare(a.Node, b.Node) })
	return good, bad
}

// versions changes whenever one of the pairs does, and is never empty.
func versions(pairs api.KVPairs) string {
	var b strings.Builder
	for _, p := range pairs {
		fmt.Fprintf(&b, "%s %d %s;", p.Key, p.ModifyIndex, p.Session)
	}
	return b.String() + "."
}

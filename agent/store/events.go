package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Events lists the events the local Consul agent still remembers, oldest
// first: at most 256 of all names, none from before the agent started.
func (s *Store) Events(ctx context.Context) ([]fleet.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	list, _, err := s.events(new(api.QueryOptions).WithContext(ctx))
	return list, err
}

// AwaitEvents is Events, asked again after growing pauses until there is an
// answer; false if ctx ends before.
func (s *Store) AwaitEvents(ctx context.Context) ([]fleet.Event, bool) {
	pause := consul.BackOff(s.pace.MinRetry, s.pace.MaxRetry)
	for {
		events, err := s.Events(ctx)
		if err == nil {
			return events, true
		}
		if ctx.Err() != nil {
			return nil, false
		}
		s.log.Debug("old events not readable", "err", err)
		consul.Pause(ctx, pause.NextBackOff())
	}
}

func (s *Store) events(q *api.QueryOptions) ([]fleet.Event, *api.QueryMeta, error) {
	list, meta, err := s.client.Event().List("", q)
	if err != nil {
		return nil, nil, fmt.Errorf("list events: %w", denied(err))
	}
	events := make([]fleet.Event, 0, len(list))
	for _, e := range list {
		events = append(events, fleet.Event{ID: e.ID, Name: e.Name, Payload: e.Payload, LTime: e.LTime})
	}
	return events, meta, nil
}

// WatchEvents calls fn with all remembered events of these names, oldest
// first, at the start even if there are none, and each time that list changed.
// An event is a hint: it may be lost, repeated, or fired by anyone. It returns nil
// when ctx ends; errors are logged, once until contact comes back.
func (s *Store) WatchEvents(ctx context.Context, names []string, fn func([]fleet.Event)) error {
	edge := s.edge("events not readable", "events readable again")
	var last []string
	read := func(q *api.QueryOptions) (*api.QueryMeta, error) {
		events, meta, err := s.events(q)
		if err != nil {
			return nil, err
		}
		edge.good()
		events = slices.DeleteFunc(events, func(e fleet.Event) bool { return !slices.Contains(names, e.Name) })
		ids := make([]string, 0, len(events))
		for _, e := range events {
			ids = append(ids, e.ID)
		}
		if last == nil || !slices.Equal(ids, last) {
			last = ids
			fn(events)
		}
		return meta, nil
	}
	s.pace.Watch(ctx, read, edge.bad)
	return nil
}

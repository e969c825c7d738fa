package consul

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// How a session ends when its owner did not end it.
var (
	ErrLost    = errors.New("the Consul session is gone")
	ErrExpired = errors.New("the Consul session was not renewed in time")
)

// lockDelay is the smallest that consul/api can express. Writers are fenced by
// check-session instead.
const lockDelay = time.Millisecond

const (
	destroyTimeout = 1500 * time.Millisecond // bounds the farewell to Consul
	createGrace    = time.Second             // for the id of a session that was asked for and is not wanted any more
)

// Session is one Consul session. Keep may run once at a time.
type Session struct {
	client  *api.Client
	id      string
	ttl     time.Duration
	renewed atomic.Pointer[time.Time] // start of the last successful renewal
}

// SessionOptions describe a session.
type SessionOptions struct {
	Name     string        // shown by Consul
	TTL      time.Duration // Consul refuses less than its session_ttl_min, 10 s by default
	Behavior string        // api.SessionBehaviorRelease or api.SessionBehaviorDelete

	// LockDelay is how long Consul holds a lock back from others after the session
	// was lost with it. 0: not at all. Consul allows a minute at most.
	LockDelay time.Duration
}

// OpenSession waits until the catalog knows the node of the local Consul agent,
// because Consul refuses sessions of a node it does not know, and creates a
// session there. The session also ends when the node's serf check fails.
func OpenSession(ctx context.Context, client *api.Client, o SessionOptions) (*Session, error) {
	awaitNode(ctx, client)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("create session %q: %w", o.Name, err)
	}
	entry := &api.SessionEntry{Name: o.Name, TTL: o.TTL.String(), Behavior: o.Behavior, LockDelay: max(o.LockDelay, lockDelay)}
	start := time.Now()
	// Consul makes the session though nobody waits for its id any more.
	reqCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.TTL)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(createGrace, cancel) })()
	id, _, err := client.Session().Create(entry, new(api.WriteOptions).WithContext(reqCtx))
	if err == nil && ctx.Err() != nil {
		err = Also(ctx.Err(), DestroySession(ctx, client, id))
	}
	if err != nil {
		return nil, fmt.Errorf("create session %q: %w", o.Name, err)
	}
	s := &Session{client: client, id: id, ttl: o.TTL}
	s.renewed.Store(&start)
	return s, nil
}

// ID is the session's id.
func (s *Session) ID() string { return s.id }

// Keep renews the session twice per TTL, as consul/api does. It returns nil when
// ctx ends and ErrLost when Consul no longer has the session. While Consul does
// not answer it tries on without end.
func (s *Session) Keep(ctx context.Context) error { return s.keep(ctx, false) }

// KeepLease is Keep for an owner that must stop before Consul can give its
// locks to another. It also returns ErrExpired, at the latest one TTL after the
// start of the last successful renewal by the monotonic clock. Consul itself may
// keep an expired session for up to two TTLs.
func (s *Session) KeepLease(ctx context.Context) error { return s.keep(ctx, true) }

func (s *Session) keep(ctx context.Context, lease bool) error {
	next := fleet.Beat(*s.renewed.Load(), s.ttl/2)
	var last error
	for {
		Pause(ctx, time.Until(next))
		end := s.end()
		switch {
		case ctx.Err() != nil:
			return nil
		case lease && !time.Now().Before(end):
			return Also(ErrExpired, last)
		}
		start := time.Now()
		known, err := s.renew(ctx, end, lease)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			last, next = err, start.Add(s.ttl/10) // at once after one that hung
			if lease && end.Before(next) {
				next = end
			}
		case !known:
			return ErrLost
		default:
			s.renewed.Store(&start)
			next = fleet.Beat(start, s.ttl/2)
		}
	}
}

// end is when the lease ends unless it is renewed.
func (s *Session) end() time.Time { return s.renewed.Load().Add(s.ttl) }

// Lasts is ErrExpired from one TTL after the start of the last successful
// renewal.
func (s *Session) Lasts() error {
	if !time.Now().Before(s.end()) {
		return ErrExpired
	}
	return nil
}

// renew asks once, for a third of the TTL at most and, for a lease, not past
// its end. It reports whether Consul knows the session.
func (s *Session) renew(ctx context.Context, end time.Time, lease bool) (bool, error) {
	by := time.Now().Add(s.ttl / 3)
	if lease && end.Before(by) {
		by = end
	}
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	entry, _, err := s.client.Session().Renew(s.id, new(api.WriteOptions).WithContext(ctx))
	if err != nil {
		return false, fmt.Errorf("renew session %s: %w", s.id, err)
	}
	return entry != nil, nil
}

// Destroy ends the session in Consul, within seconds and even if ctx has
// ended. An error means that Consul ends it by itself within two TTLs.
func (s *Session) Destroy(ctx context.Context) error { return DestroySession(ctx, s.client, s.id) }

// DestroySession ends any session by its id, like Session.Destroy.
func DestroySession(ctx context.Context, client *api.Client, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyTimeout)
	defer cancel()
	if _, err := client.Session().Destroy(id, new(api.WriteOptions).WithContext(ctx)); err != nil {
		return fmt.Errorf("destroy session %s: %w", id, err)
	}
	return nil
}

package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// ErrBacklog means that too many requests wait for a leader.
var ErrBacklog = errors.New("too many requests wait for a leader")

// maxBacklog is how many requests may wait: with issuance.MaxWishes, some
// hundred thousand names.
const maxBacklog = 128

// QueuedRequest is what an operator has asked for and no leader has taken yet.
type QueuedRequest struct {
	ID      string // in the order of their times
	Request issuance.Request
	Err     error // why it is refused; then there is no Request
}

// PutRequest leaves a request for the leader. ErrBacklog if too many wait.
func (s *Store) PutRequest(ctx context.Context, r issuance.Request) (id string, err error) {
	plain, err := issuance.EncodeRequest(r)
	if err != nil {
		return "", err
	}
	waiting, err := s.RequestIDs(ctx)
	if err != nil {
		return "", err
	}
	if len(waiting) >= maxBacklog {
		return "", fmt.Errorf("put request: %w: %d: see that an agent leads (tlsfleet status)", ErrBacklog, len(waiting))
	}
	var salt [4]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return "", fmt.Errorf("put request: %w", err)
	}
	id = fmt.Sprintf("%019d-%s", time.Now().UnixNano(), hex.EncodeToString(salt[:]))
	sealed, err := s.seal(requestPath(id), immutable, plain)
	if err != nil {
		return "", err
	}
	if _, err := s.put(ctx, requestPath(id), sealed, 0, ""); err != nil {
		return "", fmt.Errorf("put request: %w", err)
	}
	return id, nil
}

// RequestIDs lists what waits, the oldest first, without reading it.
func (s *Store) RequestIDs(ctx context.Context) ([]string, error) {
	q, cancel := read(ctx)
	defer cancel()
	keys, meta, err := s.client.KV().Keys(s.key(intakePath), "", q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return nil, fmt.Errorf("list requests: %w", denied(err))
	}
	for i, key := range keys {
		keys[i] = strings.TrimPrefix(key, s.key(intakePath))
	}
	return keys, nil
}

// Requests reads what waits, the oldest first.
func (s *Store) Requests(ctx context.Context) ([]QueuedRequest, error) {
	q, cancel := read(ctx)
	defer cancel()
	queue, _, err := s.listRequests(q)
	return queue, err
}

// listRequests reads the queue, which is all but empty while somebody leads; the
// metadata is nil if Consul gave no usable answer.
func (s *Store) listRequests(q *api.QueryOptions) ([]QueuedRequest, *api.QueryMeta, error) {
	pairs, meta, err := s.client.KV().List(s.key(intakePath), q)
	if err == nil {
		err = consul.Vouched(meta)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read requests: %w", denied(err))
	}
	queue := make([]QueuedRequest, 0, len(pairs))
	for _, pair := range pairs {
		id := strings.TrimPrefix(pair.Key, s.key(intakePath))
		r, err := open(s, requestPath(id), pair.Value, func(plain []byte) (issuance.Request, uint64, error) {
			r, err := issuance.DecodeRequest(plain)
			return r, immutable, err
		})
		queue = append(queue, QueuedRequest{id, r, err})
	}
	return queue, meta, nil
}

// WatchRequests calls fn with the whole queue each time it may have changed and
// is not empty. It returns nil when ctx ends, and nothing else.
func (s *Store) WatchRequests(ctx context.Context, fn func([]QueuedRequest)) error {
	edge := s.edge("requests not readable", "requests readable again")
	s.pace.Watch(ctx, func(q *api.QueryOptions) (*api.QueryMeta, error) {
		queue, meta, err := s.listRequests(q)
		if err != nil {
			return nil, err
		}
		edge.good()
		if len(queue) > 0 {
			fn(queue)
		}
		return meta, nil
	}, edge.bad)
	return nil
}

// DropRequests deletes requests that are carried out or refused. The session has
// to hold the leader lock (ErrFenced).
func (s *Store) DropRequests(ctx context.Context, ids []string, session string) error {
	return s.drops(ctx, ids, requestPath, session)
}

package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/seal"
)

// findSealed is find for a sealed record, by the bytes alone: JSON and base64
// would make a third more of it, and it does not compress.
func (s *Store) findSealed(path string, q *api.QueryOptions) (*api.KVPair, *api.QueryMeta, error) {
	var answer rawAnswer
	pair, meta, err := s.find(path, q.WithContext(context.WithValue(q.Context(), rawKey{}, &answer)))
	if err == nil && answer.given {
		// The index of a key that is there is its own.
		pair.Key, pair.Value, pair.ModifyIndex = s.key(path), answer.value, meta.LastIndex
	}
	return pair, meta, err
}

// findImmutable is findSealed for a record that is never changed: wherever it is
// found, it is the one.
func (s *Store) findImmutable(ctx context.Context, path string) (*api.KVPair, error) {
	pair, err := s.findWith(ctx, path, readSoon)
	if errors.Is(err, ErrMissing) {
		pair, err = s.findWith(ctx, path, read)
	}
	return pair, err
}

func (s *Store) findWith(ctx context.Context, path string, options func(context.Context) (*api.QueryOptions, context.CancelFunc)) (*api.KVPair, error) {
	q, cancel := options(ctx)
	defer cancel()
	pair, _, err := s.findSealed(path, q) //nolint:contextcheck // q has it
	return pair, err
}

// rawKey is the context's key of a rawAnswer to be filled.
type rawKey struct{}

// rawAnswer is the value of a key, if it came as it is.
type rawAnswer struct {
	value []byte
	given bool
}

// rawTransport asks Consul for values as they are where the context wants that.
// consul/api knows no such reads: it gets an empty record to decode. Where
// another transport takes its place, values come in JSON as always.
type rawTransport struct{ next http.RoundTripper }

func (t rawTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	answer, wanted := req.Context().Value(rawKey{}).(*rawAnswer)
	if !wanted {
		return t.next.RoundTrip(req)
	}
	own, address := *req, *req.URL
	address.RawQuery += "&raw"
	own.URL, own.Header = &address, req.Header.Clone()
	own.Header.Set("Accept-Encoding", "identity")
	resp, err := t.next.RoundTrip(&own)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	value, err := io.ReadAll(io.LimitReader(resp.Body, seal.MaxSealed+1))
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	answer.value, answer.given = value, true
	resp.Body = io.NopCloser(bytes.NewReader(emptyRecord))
	resp.ContentLength = int64(len(emptyRecord))
	return resp, nil
}

var emptyRecord = []byte("[{}]")

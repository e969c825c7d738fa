package store

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/hashicorp/consul/api"
)

// manyKey is the context's key of a manyAnswer.
type manyKey struct{}

// manyAnswer is where the answer to a request for many keys goes, and what
// consul/api gets in its place.
type manyAnswer struct {
	into any
	rest string
}

// reads is what a transaction of reads has answered.
type reads struct {
	Results []struct{ KV *api.KVPair }
}

func (r *reads) answer() manyAnswer { return manyAnswer{r, "{}"} }

// listing is what a list of keys has answered.
type listing []*api.KVPair

func (l *listing) answer() manyAnswer { return manyAnswer{l, "[]"} }

// with are options of a request that is answered there.
func (a manyAnswer) with(q *api.QueryOptions) *api.QueryOptions {
	return q.WithContext(context.WithValue(q.Context(), manyKey{}, a))
}

// maxAnswer bounds an answer in bytes: a transaction of 128 values of
// 512 KiB, which is Consul's limit, in base64.
const maxAnswer = 96 << 20

// manyTransport reads the answer of a request for many keys where the context
// wants that. A node that starts empty reads hundreds of megabytes of them, for
// which encoding/json takes several times as long; consul/api gets an empty answer.
type manyTransport struct{ next http.RoundTripper }

func (t manyTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	answer, wanted := req.Context().Value(manyKey{}).(manyAnswer)
	if err != nil || !wanted || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	err = json.UnmarshalRead(io.LimitReader(resp.Body, maxAnswer), answer.into)
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("read answer of Consul: %w", err)
	}
	resp.Body = io.NopCloser(strings.NewReader(answer.rest))
	resp.ContentLength = int64(len(answer.rest))
	return resp, nil
}

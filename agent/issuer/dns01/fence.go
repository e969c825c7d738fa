package dns01

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// fence ends the HTTP requests of a provider with the call that makes them:
// after the lease, nothing is asked for any more.
type fence struct {
	base http.RoundTripper

	mu  sync.Mutex
	ctx context.Context //nolint:containedctx // the one that lego's requests lack
}

// httpTimeout is lego's own default for one request.
const httpTimeout = 30 * time.Second

func newFence() *fence { return &fence{base: http.DefaultTransport} }

// until says which call is on.
func (f *fence) until(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ctx = ctx
}

func (f *fence) client(timeout time.Duration) *http.Client {
	return &http.Client{Transport: f, Timeout: timeout}
}

// RoundTrip implements http.RoundTripper.
func (f *fence) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, _, err := f.within(req.Context())
	if err != nil {
		return nil, err
	}
	return f.base.RoundTrip(req.WithContext(ctx))
}

// within has a context end with the call that is on, and errs if its lease is
// over.
func (f *fence) within(ctx context.Context) (context.Context, context.CancelFunc, error) {
	f.mu.Lock()
	lease := f.ctx
	f.mu.Unlock()
	if lease == nil {
		return ctx, func() {}, nil
	}
	if err := fleet.Leased(lease); err != nil { //nolint:contextcheck // the lease, which requests lack
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(lease, cancel) //nolint:contextcheck // the lease ends it, and so does the request
	return ctx, cancel, nil
}

package issuer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Bounds of one request to a CA.
const (
	requestTimeout = 30 * time.Second
	maxAnswer      = 1 << 20
)

// transport carries the requests of one term of leadership. lego's client knows
// no context, so this ends them with the lease; it bounds what a CA sends, and
// makes every error of a CA a *Problem, whatever it looks like. lego asks for a
// nonce before each request, and is given one that is there.
type transport struct {
	ctx     context.Context //nolint:containedctx // the one that lego's requests lack
	base    http.RoundTripper
	timeout time.Duration // of a request with its answer

	nonces noncePool
	next   sync.Map // URL of a page of a list -> URL of the page after it
	waits  sync.Map // URL of what is not done -> how long the CA wants not to be asked for it
}

// newHTTPClient makes a client whose requests end with ctx.
func newHTTPClient(ctx context.Context, ca CA) (*http.Client, *transport, error) {
	roots, err := ca.roots()
	if err != nil {
		return nil, nil, err
	}
	base := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: requestTimeout,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
	}
	context.AfterFunc(ctx, base.CloseIdleConnections)
	t := &transport{ctx: ctx, base: base, timeout: requestTimeout}
	return &http.Client{Transport: t, CheckRedirect: noRedirect}, t, nil
}

// noRedirect ends at a redirect, which ACME has no use for and which could lead
// anywhere.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := fleet.Leased(t.ctx); err != nil { //nolint:contextcheck // the lease, which requests lack
		return nil, err
	}
	nonce := req.Method == http.MethodHead // lego has no other use for it
	if nonce {
		if resp, ok := t.nonces.answer(req, time.Now()); ok {
			return resp, nil
		}
	}
	ctx, cancel := context.WithTimeout(req.Context(), t.timeout)
	defer cancel()
	stop := context.AfterFunc(t.ctx, cancel) //nolint:contextcheck // the lease ends it, and so does the request
	defer stop()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { connected.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	if err != nil && connected.Load() {
		return nil, fmt.Errorf("%w: %w", errCut, err)
	}
	if err != nil {
		return nil, err
	}
	if !nonce {
		t.nonces.keep(resp.Header, time.Now())
	}
	body, err := readBody(resp)
	if err != nil {
		return nil, fmt.Errorf("read answer of %s: %w", req.URL.Host, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, readProblem(resp, body, time.Now())
	}
	if wait := retryAfter(resp.Header.Get("Retry-After"), time.Now()); wait > 0 && req.Method == http.MethodPost {
		t.waits.Store(req.URL.String(), wait)
	}
	if url := nextPage(resp.Header); url != "" {
		t.next.Store(req.URL.String(), url)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

var nextLink = regexp.MustCompile(`^\s*<([^<>]+)>.*;\s*rel="?next"?\s*(;|$)`)

// nextPage is where a list goes on (RFC 8555, section 7.1.2.1); lego hands no
// header out.
func nextPage(h http.Header) string {
	for _, link := range h.Values("Link") {
		if m := nextLink.FindStringSubmatch(link); m != nil {
			return m[1]
		}
	}
	return ""
}

// after is the URL of the page after one that was read.
func (t *transport) after(page string) (url string, ok bool) {
	v, ok := t.next.Load(page)
	if ok {
		url, ok = v.(string)
	}
	return url, ok
}

// later is what the last answer under a URL has said in Retry-After, 0 if
// nothing. It is forgotten.
func (t *transport) later(url string) time.Duration {
	v, _ := t.waits.LoadAndDelete(url)
	wait, ok := v.(time.Duration)
	if !ok {
		return 0
	}
	return wait
}

// errLarge is an answer above maxAnswer.
var errLarge = errors.New("the answer is too large")

func readBody(resp *http.Response) (body []byte, err error) {
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case len(body) > maxAnswer:
		return nil, errLarge
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errCut, err)
	}
	return body, nil
}

// insecure is for preflights: they prove a name before it has a certificate.
func insecure() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // G402: see above
}

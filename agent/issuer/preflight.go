package issuer

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// challengePath is where HTTP-01 challenges are fetched (RFC 8555, section 8.3).
const challengePath = "/.well-known/acme-challenge/"

// Preflight asks for a challenge as a CA would, before a CA is asked for
// anything: what fails here would fail there, and count.
type Preflight struct {
	Thumbprint string        // of the account key
	Resolver   string        // address of a DNS server; empty: the system's
	Port       int           // HTTP-01 is on 80; another one for tests
	Timeout    time.Duration // of one request with its redirects; default 10 s

	// Publish makes an answer known to every node first; nil: they need nothing.
	Publish func(ctx context.Context, token, thumbprint string) (withdraw func(), _ error)
}

// Bounds of what is fetched.
const (
	preflightTimeout = 10 * time.Second
	maxChallenge     = 4 << 10 // answers are under 128 bytes; some servers add a page
	maxRedirects     = 10      // as Let's Encrypt follows
	preflighters     = 16      // requests at a time for one certificate
)

// ErrPreflight means that a name does not answer with the fleet's thumbprint.
var ErrPreflight = errors.New("the name does not lead to this fleet")

// Check fetches a random token through the name, as the CA will. With nodes,
// addresses of hosts, it also fetches it from each of them under that name,
// because a CA may be sent to any.
func (p Preflight) Check(ctx context.Context, name string, nodes []string) error {
	if p.Timeout <= 0 {
		p.Timeout = preflightTimeout
	}
	var random [24]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	token := base64.RawURLEncoding.EncodeToString(random[:])
	if p.Publish != nil {
		withdraw, err := p.Publish(ctx, token, p.Thumbprint)
		if err != nil {
			return err
		}
		defer withdraw()
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(preflighters)
	for _, node := range append([]string{""}, nodes...) {
		g.Go(func() error {
			if err := p.fetch(ctx, name, node, token); err != nil {
				return at(issuance.StagePreflight, fmt.Errorf("preflight of %s%s: %w", name, through(node), err))
			}
			return nil
		})
	}
	return g.Wait()
}

func through(node string) string {
	if node == "" {
		return ""
	}
	return " through node " + node
}

// fetch asks for the token; a node, if given, instead of what DNS says.
func (p Preflight) fetch(ctx context.Context, name, node, token string) error {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.host(name)+challengePath+token, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", userAgent)
	client := p.client(node)
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPreflight, err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxChallenge))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("%w: %w", ErrPreflight, err)
	}
	if got := strings.TrimRight(string(body), " \t\r\n"); resp.StatusCode != http.StatusOK || got != token+"."+p.Thumbprint {
		return fmt.Errorf("%w: %s answers %d with %.100q", ErrPreflight, resp.Request.URL.Host, resp.StatusCode, got)
	}
	return nil
}

func (p Preflight) host(name string) string {
	if p.Port == 0 || p.Port == 80 {
		return name
	}
	return net.JoinHostPort(name, strconv.Itoa(p.Port))
}

// client follows redirects as CAs do: to a name, on the usual ports. HTTPS is
// not verified there either, because the certificate is what is missing.
func (p Preflight) client(node string) *http.Client {
	dialer := &net.Dialer{}
	if p.Resolver != "" {
		dialer.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, p.Resolver)
		}}
	}
	dial := dialer.DialContext
	if node != "" {
		dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, net.JoinHostPort(node, port))
		}
	}
	return &http.Client{
		Transport:     &http.Transport{DialContext: dial, TLSClientConfig: insecure(), DisableKeepAlives: true},
		CheckRedirect: p.redirect,
	}
}

// errRedirect is a redirect that no CA follows.
var errRedirect = errors.New("a redirect that no CA follows")

func (p Preflight) redirect(req *http.Request, via []*http.Request) error {
	port := req.URL.Port()
	usual := port == "" || port == "80" || port == "443" || port == strconv.Itoa(p.Port)
	if len(via) >= maxRedirects || !usual || net.ParseIP(strings.Trim(req.URL.Hostname(), "[]")) != nil {
		return fmt.Errorf("%w: to %.200q", errRedirect, req.URL.Redacted())
	}
	return nil
}

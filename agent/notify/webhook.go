package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Headers of a webhook. The signature is the hexadecimal HMAC-SHA256 of the time,
// a dot and the body, so that an old one cannot be sent again.
const (
	HeaderEvent     = "Tlsfleet-Event"     // the event's ID
	HeaderTime      = "Tlsfleet-Time"      // Unix seconds
	HeaderSignature = "Tlsfleet-Signature" // "sha256=" and the digits
)

// Webhook posts events as JSON. Any status of 2xx is a delivery.
type Webhook struct {
	url    *url.URL
	key    fleet.Secret
	client *http.Client
}

var (
	// ErrURL means that a webhook cannot have this URL.
	ErrURL = errors.New("not the URL of a webhook")
	// ErrAddress means that a webhook leads to an address that is not public.
	ErrAddress = errors.New("not a public address")
)

// NewWebhook is a webhook with a key for its signature. Without private it never
// connects to an address that is loopback, link-local or private, whatever DNS
// says at that moment. It follows no redirects.
func NewWebhook(target string, key fleet.Secret, private bool) (*Webhook, error) {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%w: %.200q: want https://host/path", ErrURL, target)
	}
	if key.Len() < 16 {
		return nil, fmt.Errorf("%w: its key has %d bytes, want 16 or more", ErrURL, key.Len())
	}
	return &Webhook{url: u, key: key, client: client(private, nil)}, nil
}

// client resolves names with a resolver; nil is the system's.
func client(private bool, resolver *net.Resolver) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Resolver: resolver}
	if !private {
		dialer.Control = publicOnly
	}
	return &http.Client{
		// No proxy: it would connect where this must not.
		Transport:     &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, MaxIdleConns: 1, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// String implements Sink. A path may hold a secret.
func (w *Webhook) String() string { return w.url.Scheme + "://" + w.url.Host }

// Send implements Sink.
func (w *Webhook) Send(ctx context.Context, e Event, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("call webhook: %w", err)
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(HeaderEvent, e.ID)
	req.Header.Set(HeaderTime, now)
	req.Header.Set(HeaderSignature, "sha256="+Sign(w.key, now, body))
	resp, err := w.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the path
		}
		return fmt.Errorf("call webhook: %w", err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("call webhook: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("call webhook: it answers %s", resp.Status)
	}
	return nil
}

// Sign is the signature of a body at a time, without its prefix.
func Sign(key fleet.Secret, unix string, body []byte) string {
	raw := key.Reveal()
	defer clear(raw)
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte(unix + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// publicOnly refuses a connection after the name was resolved, so that a name
// that changes between a check and its use gains nothing.
func publicOnly(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrAddress, address)
	}
	if ip := ap.Addr().Unmap(); !public(ip) {
		return fmt.Errorf("%w: %s", ErrAddress, ip)
	}
	return nil
}

// reserved are networks that are neither private nor public (RFC 6890).
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("fec0::/10"), // once IPv4 and site-local addresses (RFC 4291)
}

func public(ip netip.Addr) bool {
	for _, p := range reserved {
		if p.Contains(ip) {
			return false
		}
	}
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast()
}

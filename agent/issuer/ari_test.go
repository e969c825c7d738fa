package issuer

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestCertID is the example of RFC 9773, section 4.1.
func TestCertID(t *testing.T) {
	leaf := &x509.Certificate{
		AuthorityKeyId: []byte{0x69, 0x88, 0x5B, 0x6B, 0x87, 0x46, 0x40, 0x41, 0xE1, 0xB3, 0x7B, 0x84, 0x7B, 0xA0, 0xAE, 0x2C, 0xDE, 0x01, 0xC8, 0xD4},
	}
	leaf.SerialNumber = new(big.Int).SetBytes([]byte{0x87, 0x65, 0x43, 0x21})
	if got, err := CertID(leaf); err != nil || got != "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE" {
		t.Errorf("CertID() = %q, %v, want aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", got, err)
	}
	if _, err := CertID(&x509.Certificate{SerialNumber: big.NewInt(1)}); !errors.Is(err, ErrNoRenewalInfo) {
		t.Errorf("CertID() without an issuer's key = %v, want %v", err, ErrNoRenewalInfo)
	}
}

func TestRenewalInfo(t *testing.T) {
	w := newWorld(t, testkit.PebbleOptions{})
	proxy, directory := w.Proxy(t)
	ca := w.ca()
	ca.Directory = directory
	c := w.connect(t.Context(), t, ca)
	b, err := c.Obtain(t.Context(), ordered(t, "a.test"), false, Stateless{}, new(note).put)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(b.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	id, err := CertID(leaf)
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.RenewalInfo(t.Context(), id)
	if err != nil || !info.Start.After(leaf.NotBefore) || !info.End.Before(leaf.NotAfter) || info.RetryAfter == 0 {
		t.Errorf("RenewalInfo() = %+v, %v, want a window within %s and %s", info, err, leaf.NotBefore, leaf.NotAfter)
	}
	start := time.Now().Add(-48 * time.Hour).UTC().Truncate(time.Second)
	w.SetRenewalInfo(t, b.Leaf, fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q}}`, start.Format(time.RFC3339), start.Add(time.Hour).Format(time.RFC3339)))
	if info, err = c.RenewalInfo(t.Context(), id); err != nil || !info.Start.Equal(start) {
		t.Errorf("RenewalInfo() = %+v, %v, want the window from %s", info, err, start)
	}
	for _, answer := range []string{`{}`, `{"suggestedWindow":{}}`, `{"suggestedWindow":{"start":"2026-01-01T00:00:00Z"}}`, `null`, `<html>`, `{"suggestedWindow":{"start":"soon","end":"later"}}`} {
		w.SetRenewalInfo(t, b.Leaf, answer)
		if info, err := c.RenewalInfo(t.Context(), id); err == nil {
			t.Errorf("RenewalInfo() of %s = %+v, want an error", answer, info)
		}
	}
	for _, code := range []int{404, 500, 503} {
		proxy.Set(testkit.Rule{Path: "/draft-ietf-acme-ari", Fault: testkit.Status(code)})
		var p *Problem
		if info, err := c.RenewalInfo(t.Context(), id); !errors.As(err, &p) || p.Status != code {
			t.Errorf("RenewalInfo() of a %d = %+v, %v, want a problem", code, info, err)
		}
	}
}

// TestOrdersReplace renews a certificate and finds it replaced already.
func TestOrdersReplace(t *testing.T) {
	w := newWorld(t, testkit.PebbleOptions{})
	c := w.connect(t.Context(), t, w.ca())
	b, err := c.Obtain(t.Context(), ordered(t, "a.test"), false, Stateless{}, new(note).put)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(b.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		it := ordered(t, "a.test")
		if it.Order.Replaces, err = CertID(leaf); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Obtain(t.Context(), it, false, Stateless{}, new(note).put); err != nil {
			t.Errorf("Obtain() of a renewal = %v", err)
		}
	}
}

func FuzzReadRenewalInfo(f *testing.F) {
	f.Add([]byte(`{"suggestedWindow":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		info, err := readRenewalInfo(body)
		if err != nil {
			return
		}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		w, ok := issuance.Suggest(info.Start, info.End, nil, info.RetryAfter, 0.5, now)
		if ok && (w.Chosen.Before(w.Start) || w.Chosen.After(w.End) || !w.Check.After(now)) {
			t.Errorf("Suggest() of %s = %+v", body, w)
		}
	})
}

package agent

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/importer"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// replaced passes orders on and notes which certificate each says that it
// replaces (RFC 9773, section 5).
type replaced struct {
	mu  sync.Mutex
	ids []string
}

func (o *replaced) pass(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var signed struct{ Payload string }
	var order struct{ Replaces string }
	err = json.Unmarshal(body, &signed)
	text, decodeErr := base64.RawURLEncoding.DecodeString(signed.Payload)
	if errors.Join(err, decodeErr, json.Unmarshal(text, &order)) != nil {
		panic(http.ErrAbortHandler)
	}
	o.mu.Lock()
	o.ids = append(o.ids, order.Replaces)
	o.mu.Unlock()
	pass.ServeHTTP(w, r)
}

func (o *replaced) all() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.ids)
}

// awaitAnother waits until a name is issued with another certificate.
func (w *issueWorld) awaitAnother(t *testing.T, name string, than fleet.Hash) issuance.Item {
	t.Helper()
	var it issuance.Item
	testkit.Eventually(t, 50*time.Second, "another certificate of "+name, func() error {
		if it = w.item(t, name); it.State != issuance.Issued || it.Cert.Bundle == than {
			return errors.New("it is " + string(it.State))
		}
		return nil
	})
	return it
}

// TestARenewalNamesWhatItReplaces: a first order replaces nothing.
func TestARenewalNamesWhatItReplaces(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	var orders replaced
	w.proxy.Set(testkit.Rule{Method: http.MethodPost, Path: "/order-plz", Fault: orders.pass})
	w.leader(t)
	w.answering(t)
	w.add(t, "a.test")
	w.await(t, "a.test", "issued", isState(issuance.Issued))
	first := w.item(t, "a.test").Cert
	if err := w.console.RenewDomains(t.Context(), []string{"a.test"}, "test"); err != nil {
		t.Fatal(err)
	}
	w.awaitAnother(t, "a.test", first.Bundle)
	// Pebble does not find 1 of 256 serial numbers, and is then asked once more, for a plain order.
	if got, want := orders.all(), []string{"", first.ID}; first.ID == "" || !slices.Equal(got[:min(len(got), 2)], want) {
		t.Errorf("orders replace %q, want %q", got, want)
	}
}

// TestAnImportedCertificateIsNotRenewed imports a certificate for a name that was
// obtained, which is then as it was imported, whatever is due.
func TestAnImportedCertificateIsNotRenewed(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.rules.parallel = 1 // so that one is over when the next begins
	w.leader(t)
	w.answering(t)
	w.add(t, "a.test", "b.test")
	for _, name := range []string{"a.test", "b.test"} {
		w.await(t, name, "issued", isState(issuance.Issued))
	}
	own, err := bundle.FromPEM(testkit.SelfSigned(t, "a.test"))
	if err != nil {
		t.Fatal(err)
	}
	lax := ImportOptions{AllowSelfSigned: true, AllowNoChain: true, Force: true}
	if r, err := w.console.Import(t.Context(), []importer.Found{{Bundle: own, Path: "own", Key: "own"}}, lax, nil); err != nil || r.Replaced != 1 {
		t.Fatalf("Import() = %+v, %v, want it in the place of the one that was obtained", r, err)
	}
	before := w.item(t, "b.test").Cert.Bundle
	for _, name := range []string{"a.test", "b.test"} {
		if err := w.console.RenewDomains(t.Context(), []string{name}, "test"); err != nil {
			t.Fatal(err)
		}
	}
	w.awaitAnother(t, "b.test", before)
	if d, err := w.console.Certificate(t.Context(), "a.test"); err != nil || d.Bundle != bundle.Hash(own) || d.Source != fleet.SourceImport {
		t.Errorf("Certificate() = %+v, %v, want the one that was imported", d, err)
	}
	w.wantCounts(t, 1, 3, 3)
}

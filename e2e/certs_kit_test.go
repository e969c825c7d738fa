package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// CA issues certificates by an intermediate whose root clients trust.
type CA struct {
	roots  *x509.CertPool
	issuer *x509.Certificate
	key    *ecdsa.PrivateKey
}

func newCA(t *testing.T) *CA {
	t.Helper()
	now := time.Now()
	authority := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(5, 0, 0),
		}
	}
	rootKey, issuerKey := newKey(t), newKey(t)
	root := authority("Test Root")
	root = signed(t, root, root, rootKey, rootKey)
	ca := &CA{roots: x509.NewCertPool(), key: issuerKey}
	ca.roots.AddCert(root)
	ca.issuer = signed(t, authority("Test Issuer"), root, issuerKey, rootKey)
	return ca
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serial(t *testing.T) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func signed(t *testing.T, c, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err == nil {
		c, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Leaf is one certificate that a CA has issued.
type Leaf struct {
	Names  []string
	Serial string
	pem    []byte // with chain and key
}

// Issue makes a certificate that ends in so many days.
func (ca *CA) Issue(t *testing.T, days int, names ...string) Leaf {
	t.Helper()
	key := newKey(t)
	c := signed(t, &x509.Certificate{
		SerialNumber: serial(t), DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().AddDate(0, -1, 0), NotAfter: time.Now().AddDate(0, 0, days),
	}, ca.issuer, key, ca.key)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.issuer.Raw})...)
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	return Leaf{names, c.SerialNumber.String(), text}
}

// folder writes the certificates as an operator keeps them, one file each.
func folder(t *testing.T, leaves ...Leaf) string {
	t.Helper()
	dir := t.TempDir()
	for i, l := range leaves {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.pem", i)), l.pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Import brings certificates into the fleet and returns the inventory's epoch.
func (f *Fleet) Import(t *testing.T, leaves ...Leaf) uint64 {
	t.Helper()
	r := f.CLI(t, "cert", "import", folder(t, leaves...), "--format", "json").Want(t, 0)
	var res struct{ Epoch uint64 }
	if err := json.Unmarshal([]byte(r.Stdout), &res); err != nil || res.Epoch == 0 {
		t.Fatalf("read %s: epoch %d, %v", r, res.Epoch, err)
	}
	return res.Epoch
}

// newCertFleet is NewFleet with nodes that serve the fleet's certificates on
// the socket of their nginx.
func newCertFleet(t *testing.T, o FleetOptions) *Fleet {
	t.Helper()
	o.Idle = true
	f := NewFleet(t, o)
	for _, n := range f.Nodes {
		n.Settings["certificates.listen"] = n.Settings["nginx.default_servers"]
		n.WriteConfig(t)
		n.Nginx.Start(t)
		n.StartAgent(t)
	}
	f.AwaitProved(t, 1)
	return f
}

// Hello is one handshake of a client that trusts the CA alone.
type Hello struct {
	SNI     string
	Version uint16 // 0: any
	Offer   *tls.ClientSessionState
	Path    string // of the request; empty: /
}

// Welcome is what a client got.
type Welcome struct {
	Serial  string
	Leaf    *x509.Certificate
	Resumed bool
	Ticket  *tls.ClientSessionState
	Answer  string
}

// Greet makes one connection to the node.
func (n *Node) Greet(t *testing.T, ca *CA, h Hello) (w Welcome, err error) {
	t.Helper()
	jar := &heldTicket{offer: h.Offer}
	d := tls.Dialer{NetDialer: &net.Dialer{}, Config: &tls.Config{
		MinVersion: max(h.Version, tls.VersionTLS12), MaxVersion: h.Version, ServerName: h.SNI, RootCAs: ca.roots, ClientSessionCache: jar,
	}}
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", n.Nginx.TLSAddrs[0])
	if err != nil {
		return w, err
	}
	conn, ok := c.(*tls.Conn)
	if !ok {
		return w, fmt.Errorf("connection is a %T", c)
	}
	path := h.Path
	if path == "" {
		path = "/"
	}
	_, err = io.WriteString(conn, "GET "+path+" HTTP/1.0\r\nHost: "+strings.ToLower(h.SNI)+"\r\n\r\n")
	if err == nil {
		var text []byte
		text, err = io.ReadAll(conn)
		w.Answer = string(text)
	}
	state := conn.ConnectionState()
	w.Leaf, w.Resumed, w.Ticket = state.PeerCertificates[0], state.DidResume, jar.got
	w.Serial = w.Leaf.SerialNumber.String()
	if closeErr := conn.Close(); err == nil && closeErr != nil && !strings.Contains(closeErr.Error(), "broken pipe") {
		err = closeErr
	}
	return w, err
}

// serves is nil if the node shows this certificate for the name.
func (n *Node) serves(t *testing.T, ca *CA, name string, want Leaf) error {
	w, err := n.Greet(t, ca, Hello{SNI: name})
	if err == nil && w.Serial != want.Serial {
		err = fmt.Errorf("serial is %s, want %s", w.Serial, want.Serial)
	}
	if err != nil {
		err = fmt.Errorf("%s on %s: %w", name, n.Name, err)
	}
	return err
}

// AwaitServed waits until each of the nodes shows the certificate for the name.
func (f *Fleet) AwaitServed(t *testing.T, ca *CA, name string, want Leaf, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		testkit.Eventually(t, settle, "the certificate of "+name+" on "+n.Name, func() error { return n.serves(t, ca, name, want) })
	}
}

// WantServed fails the test unless the nodes show the certificate now.
func (f *Fleet) WantServed(t *testing.T, ca *CA, when, name string, want Leaf, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		if err := n.serves(t, ca, name, want); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
}

// AwaitRefused waits until each of the nodes refuses handshakes for the name
// with an alert.
func (f *Fleet) AwaitRefused(t *testing.T, ca *CA, name string, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		testkit.Eventually(t, settle, "the end of "+name+" on "+n.Name, func() error {
			switch _, err := n.Greet(t, ca, Hello{SNI: name}); {
			case err == nil:
				return fmt.Errorf("it is served")
			case !strings.Contains(err.Error(), "remote error: tls:"):
				return err
			}
			return nil
		})
	}
}

// AwaitFollowed waits until the node follows this epoch of the inventory and
// has so many names.
func (n *Node) AwaitFollowed(t *testing.T, epoch uint64, names int) fleet.Report {
	t.Helper()
	return n.AwaitReport(t, fmt.Sprintf("inventory epoch %d with %d names", epoch, names), func(r fleet.Report) error {
		if r.Inventory != epoch || r.Names != names {
			return fmt.Errorf("epoch %d with %d names, problems %+v", r.Inventory, r.Names, r.Problems)
		}
		return nil
	})
}

// with is settings with some others.
func with(s Settings, more ...Settings) Settings {
	out := maps.Clone(s)
	for _, m := range more {
		maps.Copy(out, m)
	}
	return out
}

// live is the names in the node's live folder.
func (n *Node) live(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.StateDir, "live"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// release is the node's active release and how often its nginx has reloaded.
func (n *Node) release(t *testing.T) [2]uint64 {
	t.Helper()
	r, err := n.Report(t)
	if err != nil {
		t.Fatal(err)
	}
	return [2]uint64{r.Release, uint64(n.Reloads())}
}

// AwaitReleased waits until the node has proved exactly one more release, with
// one more reload, than it had.
func (n *Node) AwaitReleased(t *testing.T, before [2]uint64) {
	t.Helper()
	want := [2]uint64{before[0] + 1, before[1] + 1}
	testkit.Eventually(t, settle, "one more release of "+n.Name, func() error {
		if got := n.release(t); got != want {
			return fmt.Errorf("release and reloads are %v, want %v", got, want)
		}
		return nil
	})
	n.AwaitNoProblem(t)
}

package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// What makes nginx refuse keys that tlsfleet takes, RSA of 2048 bits.
const (
	refuseToLoad = "ssl_ciphers DEFAULT@SECLEVEL=3;"                    // OpenSSL, SSL_CTX_set_security_level
	refuseToSign = "ssl_conf_command SignatureAlgorithms ECDSA+SHA256;" // loaded, and no handshake ends
)

// noTickets is an nginx that gives no session tickets, as its OpenSSL does not
// where it refuses such keys.
func noTickets(_ int, o *testkit.NginxOptions) { o.HTTP += "ssl_session_tickets off;" }

// inServers is settings with directives in each rendered server, and the file
// that they are in.
func inServers(t *testing.T, s Settings, directives string) (_ Settings, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "servers.conf")
	writeText(t, file, directives)
	return with(s, Settings{"certificates.server_include": file}), file
}

func writeText(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// IssueRSA is Issue with an RSA key of 2048 bits.
func (ca *CA) IssueRSA(t *testing.T, days int, names ...string) Leaf {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial(t), DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		NotBefore: time.Now().AddDate(0, -1, 0), NotAfter: time.Now().AddDate(0, 0, days),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca.issuer, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.issuer.Raw})...)
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	return Leaf{names, c.SerialNumber.String(), text}
}

// AwaitQuarantine waits until the node reports exactly so many names in
// quarantine, among them these, and nothing else.
func (n *Node) AwaitQuarantine(t *testing.T, count int, names ...string) {
	t.Helper()
	n.AwaitReport(t, fmt.Sprintf("%d names in quarantine", count), func(r fleet.Report) error {
		if len(r.Problems) != 1 || r.Problems[0].Code != "certificate-quarantined" || r.Problems[0].Severity != fleet.Alarm {
			return fmt.Errorf("problems are %+v", r.Problems)
		}
		for _, part := range append([]string{fmt.Sprintf("%d names: ", count)}, names...) {
			if !strings.Contains(r.Problems[0].Message, part) {
				return fmt.Errorf("problem is %q, want %q in it", r.Problems[0].Message, part)
			}
		}
		return nil
	})
}

// TestUnservedCertificateIsTakenBack imports certificates that nginx cannot use
// among good ones, in every way in which nginx gets certificates.
func TestUnservedCertificateIsTakenBack(t *testing.T) {
	t.Parallel()
	static := Settings{"certificates.mode": "static"}
	for mode, tt := range map[string]struct {
		settings Settings
		refuse   string
	}{
		"open": {open, refuseToLoad}, "listed": {listed, refuseToLoad}, "static": {static, refuseToLoad},
		"open, loaded": {open, refuseToSign}, "static, loaded": {static, refuseToSign},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			settings, _ := inServers(t, tt.settings, tt.refuse)
			o := onShared(t, 1, settings)
			o.Nginx = noTickets
			f, ca := newCertFleet(t, o), newCA(t)
			n := f.Nodes[0]
			kept, other, third := ca.Issue(t, 30, "kept.test"), ca.Issue(t, 30, "other.test"), ca.Issue(t, 30, "*.third.test")
			n.AwaitFollowed(t, f.Import(t, kept, other, third), 3)
			for name, leaf := range map[string]Leaf{"kept.test": kept, "other.test": other, "a.third.test": third} {
				f.AwaitServed(t, ca, name, leaf, n)
			}
			n.AwaitNoProblem(t)

			other, added := ca.Issue(t, 60, "other.test"), ca.Issue(t, 30, "added.test")
			f.Import(t, ca.IssueRSA(t, 60, "kept.test"), other, added, ca.IssueRSA(t, 60, "new.test"), ca.IssueRSA(t, 60, "*.third.test"))
			f.AwaitServed(t, ca, "other.test", other, n)
			f.AwaitServed(t, ca, "added.test", added, n)
			n.AwaitQuarantine(t, 3, "kept.test is not served", "new.test is not served")
			f.AwaitServed(t, ca, "kept.test", kept, n)
			f.AwaitServed(t, ca, "a.third.test", third, n)
			f.AwaitRefused(t, ca, "new.test", n)
			if err := n.Nginx.Test(t); err != nil {
				t.Error(err)
			}
			testkit.Eventually(t, settle, "the end of new.test", func() error {
				if got := n.live(t); len(got) != 4 {
					return fmt.Errorf("live has %v", got)
				}
				return nil
			})

			n.Agent.Stop(t)
			n.StartAgent(t)
			AwaitLog(t, n.Agent, "inventory loaded", "waiting=0")
			n.AwaitQuarantine(t, 3, "kept.test is not served")
			f.WantServed(t, ca, "after a restart", "kept.test", kept, n)

			kept, added = ca.Issue(t, 90, "kept.test"), ca.Issue(t, 90, "new.test")
			f.Import(t, kept, added)
			f.AwaitServed(t, ca, "kept.test", kept, n)
			f.AwaitServed(t, ca, "new.test", added, n)
			n.AwaitQuarantine(t, 1, "*.third.test")
			f.CLI(t, "cert", "remove", "*.third.test", "--yes").Want(t, 0)
			n.AwaitNoProblem(t)
		})
	}
}

// TestOnlyNameIsTakenBack has nothing to compare with but the bundle before.
func TestOnlyNameIsTakenBack(t *testing.T) {
	t.Parallel()
	settings, _ := inServers(t, open, refuseToLoad)
	o := onShared(t, 1, settings)
	o.Nginx = noTickets
	f, ca := newCertFleet(t, o), newCA(t)
	n := f.Nodes[0]
	kept := ca.Issue(t, 30, "kept.test")
	f.Import(t, kept)
	f.AwaitServed(t, ca, "kept.test", kept, n)
	f.Import(t, ca.IssueRSA(t, 60, "kept.test"))
	n.AwaitQuarantine(t, 1, "kept.test is not served")
	f.AwaitServed(t, ca, "kept.test", kept, n)
}

// TestNginxToBlameTakesNothingBack renews certificates while nginx serves none,
// because it is stopped or refuses the old ones as well.
func TestNginxToBlameTakesNothingBack(t *testing.T) {
	t.Parallel()
	for name, lone := range map[string]bool{"one name": true, "several": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings, file := inServers(t, open, "")
			o := onShared(t, 1, settings)
			o.Nginx = noTickets
			f, ca := newCertFleet(t, o), newCA(t)
			n := f.Nodes[0]
			issue := func(days int) []Leaf {
				leaves := []Leaf{ca.IssueRSA(t, days, "a-blame.test")}
				if !lone {
					leaves = append(leaves, ca.IssueRSA(t, days, "b-blame.test"))
				}
				return leaves
			}
			first := issue(30)
			f.Import(t, first...)
			f.AwaitServed(t, ca, "a-blame.test", first[0], n)
			AwaitLog(t, n.Agent, "certificates looked for", fmt.Sprintf("seen=%d left=0", len(first)))

			n.Nginx.Stop(t)
			second := issue(40)
			f.Import(t, second[0])
			WantProblem(t, n.AwaitProblem(t, "certificate-unproved"), fleet.Warning, "a-blame.test")
			n.Nginx.Start(t)
			f.WantServed(t, ca, "with nginx started again", "a-blame.test", second[0], n)
			n.AwaitNoProblem(t)

			writeText(t, file, refuseToLoad)
			n.Nginx.Stop(t)
			n.Nginx.Start(t)
			third := issue(50)
			f.Import(t, third[0])
			WantProblem(t, n.AwaitProblem(t, "certificate-unproved"), fleet.Warning, "a-blame.test")
			writeText(t, file, "")
			n.Nginx.Stop(t)
			n.Nginx.Start(t)
			testkit.Eventually(t, settle, "the third certificate", func() error { return n.serves(t, ca, "a-blame.test", third[0]) })
			n.AwaitNoProblem(t)
			r, err := n.Report(t)
			if err != nil || len(r.Problems) > 0 {
				t.Error(errors.Join(err, fmt.Errorf("problems are %+v, want none", r.Problems)))
			}
		})
	}
}

// TestHeldCertificateIsTakenBack has nginx load a bad renewal from the
// operator's configuration: it must be able to start all the time.
func TestHeldCertificateIsTakenBack(t *testing.T) {
	t.Parallel()
	o := onShared(t, 1, nil)
	o.Nginx = noTickets
	f, ca := NewFleet(t, o), newCA(t)
	n := f.Nodes[0]
	own, other := ca.Issue(t, 30, "own.test"), ca.Issue(t, 30, "other.test")
	n.AwaitFollowed(t, f.Import(t, own, other), 2)
	for _, name := range []string{"own.test", "other.test"} {
		live := n.StateDir + "/live/" + name + "/"
		n.EditNginx(t, "\tserver {", fmt.Sprintf("\tserver {\n\t\tlisten %s ssl;\n\t\tserver_name www.%s;\n\t\t%s\n\t\tssl_certificate %sfullchain.pem;\n\t\tssl_certificate_key %sprivkey.pem;\n\t}\n\tserver {",
			n.Nginx.TLSAddrs[0], name, refuseToLoad, live, live))
	}
	n.Nginx.Stop(t)
	n.Nginx.Start(t)
	n.AwaitNoProblem(t)
	other = ca.Issue(t, 60, "other.test", "www.other.test")
	f.Import(t, ca.IssueRSA(t, 60, "own.test"), other)
	f.AwaitServed(t, ca, "www.other.test", other, n)
	n.AwaitQuarantine(t, 1, "own.test is not served")
	if err := n.Nginx.Test(t); err != nil {
		t.Error(err)
	}
	own = ca.Issue(t, 60, "own.test", "www.own.test")
	f.Import(t, own)
	f.AwaitServed(t, ca, "www.own.test", own, n)
	n.AwaitNoProblem(t)
}

package testkit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	pebbleReady = 20 * time.Second
	pebbleStop  = 5 * time.Second
)

// PebbleOptions are how Pebble, an ACME CA for tests, is to behave.
type PebbleOptions struct {
	HTTPPort    int               // where HTTP-01 challenges are fetched, on 127.0.0.1
	NonceReject int               // percent of good nonces that are refused
	AuthzReuse  int               // percent of valid authorizations that are used again
	EABKeys     map[string]string // key ids and MAC keys (base64url); then an account needs one
	Blocked     []string          // domains that the CA refuses
	Profiles    map[string]int    // lifetimes in seconds; none: 90 days and no choice
	DNS         string            // address of a DNS server to ask; empty: one of its own
}

// PebbleServer is a running Pebble and the DNS server that it asks, for whose own
// one every name is 127.0.0.1.
type PebbleServer struct {
	Directory string         // URL of the ACME directory
	Roots     *x509.CertPool // of its own HTTPS, not of what it issues
	RootFile  string         // the same as PEM
	DNS       string         // address of the DNS server
	HTTPPort  int            // where it fetches HTTP-01 challenges
	PID       int            // its process
	cert      tls.Certificate
	mgmt      string // URL of its management API
	dnsMgmt   string // the same of the DNS server
	logFile   string
}

// PebbleCounts is what a Pebble has made since it started. A request that a
// client has sent and not stayed for is in it if it was carried out.
type PebbleCounts struct{ Accounts, Orders, Certificates int }

// Counts reads them in Pebble's log.
func (s *PebbleServer) Counts(tb TB) PebbleCounts {
	tb.Helper()
	text, err := os.ReadFile(s.logFile)
	if err != nil {
		tb.Fatalf("count what Pebble has made: %v", err)
	}
	count := func(line string) int { return strings.Count(string(text), line) }
	return PebbleCounts{
		Accounts: count(" accounts in memory\n"), Orders: count(" orders in the db\n"), Certificates: count("Issued certificate serial "),
	}
}

// Pebble starts a CA that ends with tb.
func Pebble(tb TB, o PebbleOptions) *PebbleServer {
	tb.Helper()
	dir := tb.TempDir()
	cert, key := SelfSigned(tb, "localhost")
	api, mgmt := FreePort(tb, loopback), FreePort(tb, loopback)
	dns, dnsMgmt := FreePort(tb, loopback), FreePort(tb, loopback)
	s := &PebbleServer{
		Directory: fmt.Sprintf("https://localhost:%d/dir", api), Roots: x509.NewCertPool(), RootFile: filepath.Join(dir, "pebble.pem"),
		DNS: address(loopback, dns), HTTPPort: o.HTTPPort, mgmt: fmt.Sprintf("https://localhost:%d", mgmt), dnsMgmt: "http://" + address(loopback, dnsMgmt),
		logFile: filepath.Join(dir, "pebble.log"),
	}
	s.Roots.AppendCertsFromPEM(cert)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		tb.Fatalf("make certificate of Pebble: %v", err)
	}
	s.cert = pair
	config := map[string]any{
		"listenAddress": address(loopback, api), "managementListenAddress": address(loopback, mgmt),
		"certificate": s.RootFile, "privateKey": filepath.Join(dir, "pebble.key"),
		"httpPort": o.HTTPPort, "tlsPort": FreePort(tb, loopback), "keyAlgorithm": "ecdsa",
		"domainBlocklist": o.Blocked, "externalAccountBindingRequired": len(o.EABKeys) > 0, "externalAccountMACKeys": o.EABKeys,
	}
	if len(o.Profiles) > 0 {
		profiles := map[string]any{}
		for name, seconds := range o.Profiles {
			profiles[name] = map[string]any{"description": name, "validityPeriod": seconds}
		}
		config["profiles"] = profiles
	}
	text, err := json.Marshal(map[string]any{"pebble": config})
	if err != nil {
		tb.Fatalf("write configuration of Pebble: %v", err)
	}
	for name, content := range map[string][]byte{"pebble.json": text, "pebble.pem": cert, "pebble.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			tb.Fatalf("write configuration of Pebble: %v", err)
		}
	}
	if o.DNS != "" {
		s.DNS, s.dnsMgmt = o.DNS, ""
	} else {
		startDNS(tb, dir, s, dnsMgmt)
	}
	s.PID = startTool(tb, dir, "pebble", []string{
		"PEBBLE_VA_NOSLEEP=1", fmt.Sprintf("PEBBLE_WFE_NONCEREJECT=%d", o.NonceReject), fmt.Sprintf("PEBBLE_AUTHZREUSE=%d", o.AuthzReuse),
	}, "-config", filepath.Join(dir, "pebble.json"), "-dnsserver", s.DNS)
	Eventually(tb, pebbleReady, "Pebble to answer", func() error { return s.get(context.Background(), s.Directory, nil) })
	return s
}

// startDNS starts Pebble's DNS server.
func startDNS(tb TB, dir string, s *PebbleServer, dnsMgmt int) {
	tb.Helper()
	startTool(tb, dir, "pebble-challtestsrv", nil, "-dnsserver", s.DNS, "-management", address(loopback, dnsMgmt),
		"-http01", "", "-https01", "", "-doh", "", "-tlsalpn01", "", "-defaultIPv6", "")
	Eventually(tb, pebbleReady, "Pebble's DNS server to answer", func() error { return s.post(s.dnsMgmt+"/clear-a", []byte(`{"host":"ready.test"}`)) })
}

// startTool starts a binary of Pebble's with additions to the environment.
func startTool(tb TB, dir, binary string, env []string, args ...string) (pid int) {
	tb.Helper()
	path, err := toolPath("pebble", pebbleVersion, binary)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		tb.Fatalf("find %s %s: %v\nhint: run 'make tools'", binary, pebbleVersion, err)
	}
	argv := append(append([]string{"/usr/bin/env"}, env...), append([]string{path}, args...)...)
	log, err := os.OpenFile(filepath.Join(dir, binary+".log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		tb.Fatalf("start %s: %v", binary, err)
	}
	p, err := startProcess(binary, argv, log, syscall.SIGKILL)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() {
		if failed(tb) {
			tb.Logf("log of %s:\n%s", binary, tail(log))
		}
		if err := errors.Join(p.stop(syscall.SIGTERM, pebbleStop), log.Close()); err != nil {
			tb.Logf("%v", err)
		}
	})
	return p.pid
}

// Proxy is a proxy in front of Pebble, with its certificate, and the URL of the
// directory there.
func (s *PebbleServer) Proxy(tb TB) (p *Proxy, directory string) {
	tb.Helper()
	target, err := url.Parse(s.Directory)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	p = startProxy(tb, &url.URL{Scheme: "https", Host: target.Host},
		&tls.Config{Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS12}, &tls.Config{RootCAs: s.Roots, MinVersion: tls.VersionTLS12})
	_, port, err := net.SplitHostPort(p.Addr)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return p, "https://localhost:" + port + target.Path
}

// IssuingRoots are the roots of the certificates that Pebble issues.
func (s *PebbleServer) IssuingRoots(tb TB) *x509.CertPool {
	tb.Helper()
	var text []byte
	if err := s.get(context.Background(), s.mgmt+"/roots/0", &text); err != nil {
		tb.Fatalf("%v", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		tb.Fatalf("read Pebble's root: no PEM in %q", text)
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		tb.Fatalf("read Pebble's root: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return pool
}

// SetRenewalInfo makes Pebble give an answer for a certificate (RFC 9773),
// whatever it is.
func (s *PebbleServer) SetRenewalInfo(tb TB, cert []byte, answer string) {
	tb.Helper()
	body, err := json.Marshal(map[string]string{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), "ariResponse": answer})
	if err != nil {
		tb.Fatalf("set renewal info: %v", err)
	}
	if err := s.post(s.mgmt+"/set-renewal-info/", body); err != nil {
		tb.Fatalf("set renewal info: %v", err)
	}
}

// SetAddress gives a name another address in DNS than 127.0.0.1.
func (s *PebbleServer) SetAddress(tb TB, name, ip string) {
	tb.Helper()
	body, err := json.Marshal(map[string]any{"host": name, "addresses": []string{ip}})
	for _, call := range []string{"/clear-a", "/add-a"} {
		if err == nil {
			err = s.post(s.dnsMgmt+call, body)
		}
	}
	if err != nil {
		tb.Fatalf("set address of %s: %v", name, err)
	}
}

// SetDefaultAddress gives the names without an address of their own another one
// than 127.0.0.1.
func (s *PebbleServer) SetDefaultAddress(tb TB, ip string) {
	tb.Helper()
	if err := s.post(s.dnsMgmt+"/set-default-ipv4", []byte(fmt.Sprintf(`{"ip":%q}`, ip))); err != nil {
		tb.Fatalf("set default address: %v", err)
	}
}

// ErrStuck means that Pebble does not answer any more what it has to look up.
var ErrStuck = errors.New("Pebble is stuck")

// Stuck returns ErrStuck if Pebble's store does not answer within a time. Pebble
// 2.10.1 locks itself out when an authorization is read while an order is made
// and anything is written (wfe.Authz locks the authorization and then the store,
// db.FindValidAuthorization the other way round).
func (s *PebbleServer) Stuck(ctx context.Context, within time.Duration) error {
	short, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := s.get(short, s.mgmt+"/cert-status-by-serial/1", nil)
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return ErrStuck
	}
	return nil // there is no such certificate, but an answer
}

// Client is an HTTP client that trusts Pebble.
func (s *PebbleServer) Client() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.Roots}}}
}

func (s *PebbleServer) get(ctx context.Context, url string, into *[]byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	return s.do(req, into)
}

func (s *PebbleServer) post(url string, body []byte) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	return s.do(req, nil)
}

func (s *PebbleServer) do(req *http.Request, into *[]byte) (err error) {
	client := s.Client()
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.200s", req.Method, req.URL, resp.Status, text)
	}
	if into != nil {
		*into = text
	}
	return nil
}

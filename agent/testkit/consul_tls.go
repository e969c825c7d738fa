package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/consul/api"
)

// TLSFiles are the paths, in PEM, of what a client of a Consul with TLS needs.
type TLSFiles struct{ CA, Cert, Key string }

// ConsulTLS has Consul speak TLS only, on HTTP and between agents, with a CA of
// its own, and refuse clients without a certificate of it (verify_incoming,
// verify_outgoing, verify_server_hostname).
func ConsulTLS() ConsulOption {
	return func(c *consulConfig) { c.tls = true }
}

// ConsulGossip encrypts what agents tell each other by gossip.
func ConsulGossip() ConsulOption {
	key := make([]byte, 32)
	_, err := rand.Read(key)
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	return ConsulSet("encrypt", base64.StdEncoding.EncodeToString(key))
}

// writeTLS makes the CA and one certificate for servers and clients in dir.
func writeTLS(dir string) (TLSFiles, error) {
	f := TLSFiles{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return f, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return f, err
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Consul test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server.dc1.consul"},
		DNSNames: []string{"server.dc1.consul", "localhost"}, IPAddresses: []net.IP{net.ParseIP(loopback)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return f, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return f, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return f, err
	}
	for path, text := range map[string][]byte{
		f.CA: pemText("CERTIFICATE", caDER), f.Cert: pemText("CERTIFICATE", leafDER), f.Key: pemText("PRIVATE KEY", pkcs8),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return f, err
		}
	}
	return f, nil
}

// URL is the address of the HTTP API with its scheme.
func (s *ConsulServer) URL() string {
	if s.TLS.CA == "" {
		return "http://" + s.Addr
	}
	return "https://" + s.Addr
}

// Env is the environment that makes Consul's own clients use this agent with
// its management token.
func (s *ConsulServer) Env() []string {
	env := []string{"CONSUL_HTTP_ADDR=" + s.URL(), "CONSUL_HTTP_TOKEN=" + s.Token}
	if s.TLS.CA != "" {
		env = append(env, "CONSUL_CACERT="+s.TLS.CA, "CONSUL_CLIENT_CERT="+s.TLS.Cert, "CONSUL_CLIENT_KEY="+s.TLS.Key)
	}
	return env
}

func (s *ConsulServer) clientConfig(token string) *api.Config {
	c := &api.Config{Address: s.URL(), Token: token}
	if s.TLS.CA != "" {
		c.TLSConfig = api.TLSConfig{CAFile: s.TLS.CA, CertFile: s.TLS.Cert, KeyFile: s.TLS.Key}
	}
	return c
}

// tlsConfig is the agent's part of ConsulTLS.
func (s *ConsulServer) tlsConfig() map[string]any {
	return map[string]any{
		"defaults": map[string]any{
			"ca_file": s.TLS.CA, "cert_file": s.TLS.Cert, "key_file": s.TLS.Key, "verify_incoming": true, "verify_outgoing": true,
		},
		"internal_rpc": map[string]any{"verify_server_hostname": true},
	}
}

// Join starts a Consul agent that is no server, with the same options, and
// waits until it may hold sessions. It ends with tb.
func (s *ConsulServer) Join(tb TB, node string) *ConsulServer {
	tb.Helper()
	config := *s.config
	config.join = address(loopback, s.serf)
	member := &ConsulServer{
		Node: node, Token: s.Token, TLS: s.TLS, dir: tb.TempDir(), config: &config,
		http: FreePort(tb, loopback), rpc: FreePort(tb, loopback), serf: FreePort(tb, loopback),
	}
	member.Addr = address(loopback, member.http)
	if err := member.configure(); err != nil {
		tb.Fatalf("join Consul: %v", err)
	}
	member.run(tb)
	return member
}

// configure writes the agent's files.
func (s *ConsulServer) configure() error {
	binary, err := consulBinary()
	if err != nil {
		return err
	}
	if s.config.tls && s.TLS.CA == "" {
		if s.TLS, err = writeTLS(s.dir); err != nil {
			return fmt.Errorf("make certificates of Consul: %w", err)
		}
	}
	if s.argv, err = s.config.write(s, binary); err != nil {
		return err
	}
	s.log, err = os.OpenFile(filepath.Join(s.dir, "consul.log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start Consul: %w", err)
	}
	return nil
}

// run starts the agent and ends it with tb.
func (s *ConsulServer) run(tb TB) {
	tb.Helper()
	tb.Cleanup(func() {
		if failed(tb) {
			tb.Logf("log of Consul at %s:\n%s", s.Addr, tail(s.log))
		}
		if err := s.close(); err != nil {
			tb.Logf("%v", err)
		}
	})
	s.Start(tb)
}

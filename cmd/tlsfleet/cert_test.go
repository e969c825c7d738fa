package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestCertificateScripts runs testdata/consul/*.txtar on a real Consul, each
// with a fleet of its own ($CONFIG). `pair NAME DAYS FILE` makes a self-signed
// certificate with its key in one file, PKCS#12 with the password "sesame" if
// the file ends so.
func TestCertificateScripts(t *testing.T) {
	consul := testkit.SharedConsul(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/consul", RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			keyring := filepath.Join(env.WorkDir, ".keyring")
			if _, err := seal.Create(keyring); err != nil {
				return err
			}
			file := filepath.Join(env.WorkDir, ".tlsfleet.hcl")
			env.Setenv("TLSFLEET_CONFIG", file)
			text := fmt.Sprintf("fleet = %q\nkeyring_file = %q\nconsul {\n  address = %q\n}\n", testkit.FleetName(t), keyring, consul.Addr)
			return os.WriteFile(file, []byte(text), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"pair": pairCommand},
	})
}

func pairCommand(ts *testscript.TestScript, _ bool, args []string) {
	var days int
	_, err := fmt.Sscan(args[1], &days)
	ts.Check(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{args[0]}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(0, 0, days).Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	ts.Check(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	out := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	if filepath.Ext(args[2]) == ".p12" {
		cert, err := x509.ParseCertificate(der)
		ts.Check(err)
		out, err = pkcs12.Modern2023.Encode(key, cert, nil, "sesame")
		ts.Check(err)
	}
	path := ts.MkAbs(args[2])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
	ts.Check(os.WriteFile(path, out, 0o600))
}

package importer_test

import (
	"maps"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/importer"
)

func TestFindReadsLayouts(t *testing.T) {
	a, b, old := leaf(t, "a.test"), leaf(t, "b.test"), leaf(t, "a.test")
	chain, root := certPEM(cas().lower), certPEM(cas().root)
	certbot := map[string]string{
		"live/README":               "read me",
		"live/a.test/README":        "read me",
		"live/a.test/cert.pem":      "-> ../../archive/a.test/cert2.pem",
		"live/a.test/chain.pem":     "-> ../../archive/a.test/chain2.pem",
		"live/a.test/fullchain.pem": "-> ../../archive/a.test/fullchain2.pem",
		"live/a.test/privkey.pem":   "-> ../../archive/a.test/privkey2.pem",
		"archive/a.test/cert1.pem":  certPEM(old), "archive/a.test/cert2.pem": certPEM(a),
		"archive/a.test/chain1.pem": chain, "archive/a.test/chain2.pem": chain,
		"archive/a.test/fullchain1.pem": full(old), "archive/a.test/fullchain2.pem": full(a),
		"archive/a.test/privkey1.pem": keyPEM(t, old), "archive/a.test/privkey2.pem": keyPEM(t, a),
		"renewal/a.test.conf": "x", "keys/0000_key-certbot.pem": keyPEM(t, old), "csr/0000_csr-certbot.pem": "-----BEGIN CERTIFICATE REQUEST-----\n",
		"live/b.test/fullchain.pem": full(b), "live/b.test/privkey.pem": keyPEM(t, b),
	}
	lego := map[string]string{
		"accounts/acme/me/keys/me.key":          keyPEM(t, old),
		"certificates/a.test.crt":               full(a),
		"certificates/a.test.key":               keyPEM(t, a),
		"certificates/a.test.issuer.crt":        chain,
		"certificates/a.test.json":              "{}",
		"certificates/a.test.pem":               full(a) + keyPEM(t, a),
		"certificates/a.test.pfx":               pfx(t, a, "changeit"),
		"certificates/_.b.test.crt":             certPEM(b),
		"certificates/_.b.test.issuer.crt":      chain,
		"certificates/_.b.test.key":             keyPEM(t, b),
		"archives/2020/certificates/a.test.crt": full(old),
	}
	acmesh := map[string]string{
		"account.conf": "x", "acme.sh": "#!/bin/sh", "ca/directory/account.key": keyPEM(t, old), "dnsapi/dns_cf.sh": "x",
		"a.test/a.test.cer": certPEM(a), "a.test/a.test.key": keyPEM(t, a), "a.test/ca.cer": chain, "a.test/fullchain.cer": full(a),
		"a.test/a.test.csr": "x", "a.test/a.test.conf": "x", "a.test/backup/key.bak": keyPEM(t, old), "a.test/backup/fullchain.bak": full(old),
		"b.test_ecc/b.test.cer": certPEM(b), "b.test_ecc/b.test.key": keyPEM(t, b), "b.test_ecc/ca.cer": chain, "b.test_ecc/fullchain.cer": full(b),
	}
	tests := map[string]struct {
		files map[string]string
		paths []string
		want  map[string]string
	}{
		"certbot":           {certbot, []string{""}, map[string]string{"live/a.test/fullchain.pem": "a.test+ live/a.test/privkey.pem", "live/b.test/fullchain.pem": "b.test+ live/b.test/privkey.pem"}},
		"certbot, live":     {certbot, []string{"live"}, map[string]string{"live/a.test/fullchain.pem": "a.test+ live/a.test/privkey.pem", "live/b.test/fullchain.pem": "b.test+ live/b.test/privkey.pem"}},
		"certbot, one":      {certbot, []string{"live/a.test"}, map[string]string{"live/a.test/fullchain.pem": "a.test+ live/a.test/privkey.pem"}},
		"certbot, a file":   {certbot, []string{"live/a.test/fullchain.pem"}, map[string]string{"live/a.test/fullchain.pem": "a.test+ live/a.test/privkey.pem"}},
		"certbot, the leaf": {certbot, []string{"live/a.test/cert.pem"}, map[string]string{"live/a.test/cert.pem": "a.test+ live/a.test/privkey.pem"}},
		"certbot, twice":    {certbot, []string{"live", "live/a.test", "live/a.test/cert.pem"}, map[string]string{"live/a.test/fullchain.pem": "a.test+ live/a.test/privkey.pem", "live/b.test/fullchain.pem": "b.test+ live/b.test/privkey.pem"}},
		"certbot, archive": {certbot, []string{"archive/a.test"}, map[string]string{
			"archive/a.test/fullchain1.pem": "a.test+ archive/a.test/privkey1.pem", "archive/a.test/fullchain2.pem": "a.test+ archive/a.test/privkey2.pem"}},
		"lego": {lego, []string{""}, map[string]string{
			"certificates/a.test.pem": "a.test+", "certificates/_.b.test.crt": "b.test+ certificates/_.b.test.key"}},
		"lego, a file":    {lego, []string{"certificates/a.test.crt"}, map[string]string{"certificates/a.test.crt": "a.test+ certificates/a.test.key"}},
		"acme.sh":         {acmesh, []string{""}, map[string]string{"a.test/fullchain.cer": "a.test+ a.test/a.test.key", "b.test_ecc/fullchain.cer": "b.test+ b.test_ecc/b.test.key"}},
		"acme.sh, one":    {acmesh, []string{"b.test_ecc"}, map[string]string{"b.test_ecc/fullchain.cer": "b.test+ b.test_ecc/b.test.key"}},
		"acme.sh, a file": {acmesh, []string{"a.test/fullchain.cer"}, map[string]string{"a.test/fullchain.cer": "a.test+ a.test/a.test.key"}},

		"one file":                 {map[string]string{"x": full(a) + keyPEM(t, a)}, []string{"x"}, map[string]string{"x": "a.test+"}},
		"one file, chain beside":   {map[string]string{"x.pem": certPEM(a) + keyPEM(t, a), "x-chain.pem": chain}, []string{"x.pem"}, map[string]string{"x.pem": "a.test+"}},
		"stems":                    {map[string]string{"a.crt": full(a), "a.key": keyPEM(t, a), "b.pem": full(b), "b-key.pem": keyPEM(t, b)}, []string{""}, map[string]string{"a.crt": "a.test+ a.key", "b.pem": "b.test+ b-key.pem"}},
		"stems, deep":              {map[string]string{"x/y/a.crt": full(a), "x/y/a.key": keyPEM(t, a), "x/b.pem": full(b), "x/b.key.pem": keyPEM(t, b)}, []string{""}, map[string]string{"x/y/a.crt": "a.test+ x/y/a.key", "x/b.pem": "b.test+ x/b.key.pem"}},
		"Canada":                   {map[string]string{"a.ca.crt": full(a), "a.ca.key": keyPEM(t, a), "b.ca.crt": full(b), "b.ca.key": keyPEM(t, b)}, []string{""}, map[string]string{"a.ca.crt": "a.test+ a.ca.key", "b.ca.crt": "b.test+ b.ca.key"}},
		"Kubernetes":               {map[string]string{"tls.crt": certPEM(a), "tls.key": keyPEM(t, a), "ca.crt": chain}, []string{""}, map[string]string{"tls.crt": "a.test+ tls.key"}},
		"as a CA sends it":         {map[string]string{"a_test.crt": certPEM(a), "a_test.ca-bundle": chain + root, "private.key": keyPEM(t, a)}, []string{""}, map[string]string{"a_test.crt": "a.test+ private.key"}},
		"DER":                      {map[string]string{"a.cer": string(a.cert.Raw), "a.key": keyDER(t, a), "a.issuer.der": string(cas().lower.cert.Raw)}, []string{""}, map[string]string{"a.cer": "a.test+ a.key"}},
		"two files":                {map[string]string{"certs/x.pem": full(a), "private/y.pem": keyPEM(t, a)}, []string{"certs/x.pem", "private/y.pem"}, map[string]string{"certs/x.pem": "a.test+ private/y.pem"}},
		"stems, elsewhere":         {map[string]string{"c/x.pem": full(a), "p/x.key": keyPEM(t, a), "c/y.pem": full(b), "p/y.key": keyPEM(t, b)}, []string{"c/x.pem", "c/y.pem", "p/y.key", "p/x.key"}, map[string]string{"c/x.pem": "a.test+ p/x.key", "c/y.pem": "b.test+ p/y.key"}},
		"others beside":            {map[string]string{"dhparam.pem": "-----BEGIN DH PARAMETERS-----\nMAA=\n-----END DH PARAMETERS-----\n", "root.pem": root, "notes.txt": "x", "a.pem": full(a), "a.key": keyPEM(t, a)}, []string{""}, map[string]string{"a.pem": "a.test+ a.key"}},
		"full chain of another":    {map[string]string{"fullchain.pem": full(b), "a.crt": full(a), "a.key": keyPEM(t, a)}, []string{""}, map[string]string{"a.crt": "a.test+ a.key"}},
		"PKCS#12 without password": {map[string]string{"a.p12": pfx(t, a, "")}, []string{""}, map[string]string{"a.p12": "a.test+"}},
		"CRLF and text":            {map[string]string{"a.pem": "Bag Attributes\r\n" + full(a), "a.key": keyPEM(t, a)}, []string{"a.pem"}, map[string]string{"a.pem": "a.test+ a.key"}},
		"linked folder":            {map[string]string{"store/a/a.pem": full(a), "store/a/a.key": keyPEM(t, a), "now": "-> store/a", "store/a/up": "-> ../.."}, []string{"now"}, map[string]string{"now/a.pem": "a.test+ now/a.key"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			found, refused := find(t, importer.Options{}, tree(t, tt.files), tt.paths...)
			if !maps.Equal(found, tt.want) {
				t.Errorf("Find() = %v, want %v", found, tt.want)
			}
			if len(refused) > 0 {
				t.Errorf("Find() refuses %v, want nothing", refused)
			}
		})
	}
}

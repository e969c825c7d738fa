package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// templatePrefix is where consul-template's certificates are in KV.
const templatePrefix = "bench-certs/"

// setsPerTxn is how many certificates go into one transaction of the seed.
const setsPerTxn = 64

// template is consul-template in its cheapest layout for many certificates:
// one key for each, with chain and private key as PEM, and one template that
// goes through all of them and writes their files. nginx reads them by
// variable, so that no command has to be run after a change.
type template struct {
	binary string
	consul *api.Client
	stock  *stock
}

func (t *template) seed(ctx context.Context, leaves []leaf) error {
	for len(leaves) > 0 {
		n := min(setsPerTxn, len(leaves))
		ops := make(api.TxnOps, n)
		for i, l := range leaves[:n] {
			ops[i] = &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVSet, Key: templatePrefix + l.name, Value: t.text(l)}}
		}
		ok, resp, _, err := t.consul.Txn().Txn(ops, new(api.QueryOptions).WithContext(ctx))
		if err == nil && !ok {
			err = fmt.Errorf("%v", resp.Errors)
		}
		if err != nil {
			return fmt.Errorf("seed consul-template: %w", err)
		}
		leaves = leaves[n:]
	}
	return nil
}

func (t *template) change(ctx context.Context, l leaf) error {
	_, err := t.consul.KV().Put(&api.KVPair{Key: templatePrefix + l.name, Value: t.text(l)}, new(api.WriteOptions).WithContext(ctx))
	return err
}

func (t *template) text(l leaf) []byte { return append(t.stock.fullchain(l), t.stock.privkey()...) }

const templateText = `{{ range ls "bench-certs" }}{{ $parts := .Value | split "-----BEGIN PRIVATE KEY-----" -}}
{{ index $parts 0 | writeToFile (print "%[1]s/" .Key "/fullchain.pem") "" "" "0644" -}}
{{ index $parts 1 | printf "-----BEGIN PRIVATE KEY-----%%s\n" | writeToFile (print "%[1]s/" .Key "/privkey.pem") "" "" "0640" -}}
{{ end }}
`

const templateConfig = `log_level = "warn"
kill_signal = "SIGTERM"
consul {
  address = %q
}
template {
  source      = %q
  destination = %q
}
`

// templateServer serves any name by variable, as tlsfleet's nginx does here.
const templateServer = `
map $ssl_server_name $tls_name { default _none; "~^(?!.*\.\.)[a-z0-9_][a-z0-9._-]*$" $ssl_server_name; }
server {
	listen %s ssl;
	server_name ~^;
	ssl_certificate %[2]s/$tls_name/fullchain.pem;
	ssl_certificate_key %[2]s/$tls_name/privkey.pem;
	location / { return 200; }
}
`

func (t *template) open(_ context.Context, p *lab.Program, dir string) (node, error) {
	n := &templateNode{template: t, dir: dir, out: filepath.Join(dir, "certs"), done: filepath.Join(dir, "rendered")}
	if err := os.MkdirAll(n.out, 0o750); err != nil {
		return nil, fmt.Errorf("open consul-template: %w", err)
	}
	port := testkit.FreePort(p, "127.0.0.1")
	n.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	testkit.NewNginx(p, testkit.NginxOptions{TLSPort: port, HTTP: fmt.Sprintf(templateServer, n.address, n.out)}).Start(p)
	return n, nil
}

type templateNode struct {
	*template
	dir, out, done string
	address        string
}

func (n *templateNode) addr() string { return n.address }

func (n *templateNode) start(p *lab.Program, addr string) *lab.Process {
	source, config := filepath.Join(n.dir, "certs.ctmpl"), filepath.Join(n.dir, "config.hcl")
	for path, text := range map[string]string{
		source: fmt.Sprintf(templateText, n.out),
		config: fmt.Sprintf(templateConfig, addr, source, n.done),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			p.Fatalf("configure consul-template: %v", err)
		}
	}
	return lab.Start(p, "consul-template", filepath.Join(n.dir, "consul-template.log"), nil, n.binary, "-config", config)
}

// complete goes by the template's own output, which comes after all files.
func (n *templateNode) complete(int) (bool, error) {
	_, err := os.Stat(n.done)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (n *templateNode) placed(l leaf) (bool, error) {
	for file, want := range map[string][]byte{"fullchain.pem": n.stock.fullchain(l), "privkey.pem": n.stock.privkey()} {
		got, err := os.ReadFile(filepath.Join(n.out, l.name, file))
		if err != nil || !bytes.Equal(got, want) {
			return false, err
		}
	}
	return true, nil
}

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// templateKey is where consul-template's certificate is in KV.
const templateKey = "bench/shop"

// template is consul-template on each node as its guide has it for nginx: one
// template for the upstream, one for the certificate, both with the command
// that reloads nginx.
type template struct {
	binary string
	consul *api.Client
	fleet  *lab.Fleet
	procs  []*lab.Process
	first  []byte // certificate: nginx does not take a server without one
}

func (t *template) certify(ctx context.Context, c lab.Certificate) error {
	if t.first == nil {
		t.first = c.PEM
	}
	_, err := t.consul.KV().Put(&api.KVPair{Key: templateKey, Value: c.PEM}, new(api.WriteOptions).WithContext(ctx))
	return err
}

const upstreamText = `upstream shop {
{{- range service "shop" }}
	server {{ .Address }}:{{ .Port }};
{{- else }}
	server 127.0.0.1:9 down;
{{- end }}
	keepalive 32;
}
`

const certificateText = `{{ key "bench/shop" }}`

// shopServer passes requests on as tlsfleet's template does.
const shopServer = `server {
	listen %s ssl;
	server_name %s;
	ssl_certificate %[3]s;
	ssl_certificate_key %[3]s;
	location / {
		proxy_pass http://shop;
		proxy_http_version 1.1;
		proxy_set_header Connection "";
	}
}
`

const templateConfig = `log_level = "warn"
kill_signal = "SIGTERM"
consul {
  address = %q
}
template {
  source      = %q
  destination = %q
  command     = %s
}
template {
  source      = %q
  destination = %q
  perms       = 0600
  command     = %[4]s
}
`

func (t *template) start(_ context.Context, p *lab.Program, s *scene) error {
	for _, n := range s.fleet.Nodes {
		dir := filepath.Join(n.Nginx.Dir, "consul-template")
		current := filepath.Join(n.Nginx.StateDir, "nginx", "current")
		pem := filepath.Join(dir, "shop.pem")
		reload := []string{n.Nginx.Binary, "-p", n.Nginx.Dir, "-e", n.Nginx.ErrorLogFile, "-c", n.Nginx.ConfigFile, "-s", "reload"}
		for i, word := range reload {
			reload[i] = fmt.Sprintf("%q", word)
		}
		upstream, certificate := filepath.Join(dir, "upstream.ctmpl"), filepath.Join(dir, "certificate.ctmpl")
		config := filepath.Join(dir, "config.hcl")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("configure consul-template: %w", err)
		}
		for path, text := range map[string]string{
			upstream: upstreamText, certificate: certificateText, pem: string(t.first),
			config: fmt.Sprintf(templateConfig, s.consul.Addr, upstream, filepath.Join(current, "upstream.conf"), "["+strings.Join(reload, ", ")+"]", certificate, pem),
		} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				return fmt.Errorf("configure consul-template: %w", err)
			}
		}
		// Without the upstream nginx takes no server that passes requests on to it.
		if err := n.WriteConfig("upstream.conf", "upstream shop {\n\tserver 127.0.0.1:9 down;\n}\n"); err != nil {
			return err
		}
		if err := n.WriteConfig("shop.conf", fmt.Sprintf(shopServer, n.Nginx.TLSAddrs[0], siteName, pem)); err != nil {
			return err
		}
		t.procs = append(t.procs, lab.Start(p, "consul-template of "+n.Name, filepath.Join(dir, "log"), nil, t.binary, "-config", config))
	}
	return nil
}

func (t *template) ended() error {
	for _, c := range t.procs {
		if err := c.Ended(); err != nil {
			return err
		}
	}
	return nil
}

package site

import (
	"strings"
	"testing"
)

// full is a site with every setting.
const full = `
site "shop" {
  server_names   = ["Shop.Test.", "*.shop.test"]
  listen         = ["8443", "[::]:8443"]
  proxy_protocol = true
  http           = "redirect"
  http_listen    = ["8080"]
  http2          = false
  websocket      = true
  max_body_size  = "10M"
  snippets       = ["gzip.conf", "limits"]
  backends {
    addresses = ["192.0.2.1:80 weight=3", "[2001:db8::1]:80", "unix:/run/app.sock backup"]
    method    = "least_conn"
  }
  tls {
    policy                = "custom"
    protocols             = ["TLSv1.2", "TLSv1.3"]
    ciphers               = "ECDHE+AESGCM:!aNULL"
    curves                = "X25519"
    prefer_server_ciphers = true
  }
  hsts {
    max_age            = "8760h"
    include_subdomains = true
    preload            = true
  }
  client_certificates {
    ca    = "partners.pem"
    mode  = "optional"
    depth = 2
  }
  timeouts {
    connect     = "1s"
    send        = "2s"
    read        = "1h"
    client_body = "1m30s"
  }
}
`

const least = `
site "blog" {
  server_names = ["blog.test"]
  backends { service = "web" }
}
`

func parse(t testing.TB, text string) []Site {
	t.Helper()
	sites, err := Parse([]byte(text), "f.hcl", nil)
	if err != nil {
		t.Fatalf("Parse(%s) = %v", text, err)
	}
	return sites
}

// with is the smallest site with more in it, and a change in its text.
func with(t testing.TB, more string, replace ...string) Site {
	t.Helper()
	text := strings.NewReplacer(replace...).Replace(least)
	i := strings.LastIndexByte(text, '}')
	return parse(t, text[:i]+more+"\n}\n")[0]
}

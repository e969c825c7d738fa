package testkit

import (
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// NginxOptions says how a Nginx is configured. The zero value is one TLS
// server for a.test on one port of 127.0.0.1.
type NginxOptions struct {
	Address string   // loopback address, default 127.0.0.1
	Ports   int      // TLS listen sockets, default 1
	TLSPort int      // fixed number of the first TLS port, default free
	Names   []string // server names, default a.test
	User    string   // of the workers when started by root, default root
	Workers int      // worker processes, default 1

	// CertPEM and KeyPEM are what the servers show; default is a self-signed
	// certificate for Names.
	CertPEM, KeyPEM []byte

	Listen string // more parameters of each listen: "default_server", "proxy_protocol"
	Main   string // directives at the top level
	HTTP   string // directives at http level
	Server string // directives in each TLS server
	Answer string // body that every TLS server answers with, default "ok\n"

	StateDir  string // of the agent, default inside Dir
	NoInclude bool   // leave the line that includes the agent's releases out
	Reject    bool   // each TLS port has a default server with ssl_reject_handshake on
}

func (o NginxOptions) withDefaults(dir string) NginxOptions {
	if o.Address == "" {
		o.Address = loopback
	}
	o.Ports = max(o.Ports, 1)
	o.Workers = max(o.Workers, 1)
	if len(o.Names) == 0 {
		o.Names = []string{"a.test"}
	}
	if o.Answer == "" {
		o.Answer = "ok\n"
	}
	if o.StateDir == "" {
		o.StateDir = filepath.Join(dir, "state")
	}
	if o.User == "" {
		o.User = "root"
	}
	return o
}

// nginxConfig is the configuration file of a Nginx. Client bodies and the like
// go to folders of its own, so that it needs nothing of the host's nginx.
var nginxConfig = template.Must(template.New("nginx.conf").Funcs(template.FuncMap{
	"join":  strings.Join,
	"quote": quote,
}).Parse(`{{if .Root}}user {{.O.User}};
{{end}}daemon off;
worker_processes {{.O.Workers}};
error_log {{.N.ErrorLogFile}} notice;
pid {{.N.PIDFile}};
{{.O.Main}}
events {
	worker_connections 4096;
}
http {
	access_log off;
	client_body_temp_path {{.N.Dir}}/temp/body;
	proxy_temp_path {{.N.Dir}}/temp/proxy;
	fastcgi_temp_path {{.N.Dir}}/temp/fastcgi;
	uwsgi_temp_path {{.N.Dir}}/temp/uwsgi;
	scgi_temp_path {{.N.Dir}}/temp/scgi;
	ssl_protocols TLSv1.2 TLSv1.3;
{{- if not .O.NoInclude}}
	include {{.N.StateDir}}/nginx/current/*.conf;
{{- end}}
	{{.O.HTTP}}
{{- range .N.TLSPorts}}
{{- if $.O.Reject}}
	server {
		listen {{$.N.Address}}:{{.}} ssl default_server;
		ssl_reject_handshake on;
	}
{{- end}}
	server {
		listen {{$.N.Address}}:{{.}} ssl {{$.O.Listen}};
		server_name {{join $.N.Names " "}};
		ssl_certificate {{$.N.Dir}}/cert.pem;
		ssl_certificate_key {{$.N.Dir}}/key.pem;
		{{$.O.Server}}
		location / {
			return 200 {{quote $.O.Answer}};
		}
	}
{{- end}}
}
`))

// quote is s as one parameter of an nginx directive.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// write puts the configuration and what it names into n.Dir.
func (n *Nginx) write(o NginxOptions) error {
	for _, d := range []string{filepath.Join(n.Dir, "temp"), filepath.Join(n.StateDir, "nginx")} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return err
		}
	}
	if o.CertPEM == nil {
		var err error
		if o.CertPEM, o.KeyPEM, err = selfSigned(o.Names); err != nil {
			return err
		}
	}
	n.CertPEM = o.CertPEM
	var text strings.Builder
	if err := nginxConfig.Execute(&text, struct {
		N    *Nginx
		O    NginxOptions
		Root bool
	}{n, o, os.Geteuid() == 0}); err != nil {
		return err
	}
	for name, content := range map[string][]byte{"nginx.conf": []byte(text.String()), "cert.pem": o.CertPEM, "key.pem": o.KeyPEM} {
		if err := os.WriteFile(filepath.Join(n.Dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

package templates

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed nginx/*.conf nginx/*.inc nginx/site
var sources embed.FS

// Names of the files of a release, in the order nginx reads them.
const (
	TicketsFile = "00-tickets.conf"
	ReleaseFile = "10-release.conf"
	DefaultFile = "20-default.conf"
)

// Names lists the files that every release has, in the order nginx reads them.
func Names() []string { return []string{TicketsFile, ReleaseFile, DefaultFile} }

// Values are what a release is rendered from.
type Values struct {
	Release        uint64        // answered by GET /release
	ReleaseAddress string        // loopback address of the release server
	PerHost        bool          // no ticket keys: nginx makes its own
	KeyFiles       []string      // absolute paths, the key that seals first
	SessionTimeout time.Duration // ssl_session_timeout, whole seconds; 0 writes none
	DefaultServers []string      // listen parameters, such as "443 ssl"
	Protocols      bool          // ssl_protocols at http level

	// Curves is the ssl_ecdh_curve of those of DefaultServers that do not have
	// nginx's default: it is up to them, whatever the other servers there say.
	Curves map[string]string

	Challenges *Challenges // answers to HTTP-01 challenges; nil for none
	TLS        *TLS        // servers with live certificates; nil for none
}

// File is one rendered file.
type File struct {
	Name string
	Text []byte
}

// Render makes the files of a release: those of Names, in their order, those
// about Challenges, and then TLSFile. The same values give the same bytes.
func Render(v Values) ([]File, error) {
	if err := check(v); err != nil {
		return nil, err
	}
	set, err := template.New("").Funcs(template.FuncMap{
		"quote": Quote, "listen": listen, "listenOf": listenOf, "quoteRoot": quoteRoot, "quoteServerName": quoteServerName,
	}).ParseFS(sources, "nginx/*.conf", "nginx/*.inc")
	if err != nil {
		return nil, fmt.Errorf("parse nginx templates: %w", err)
	}
	files := make([]File, 0, len(Names()))
	for _, name := range Names() {
		var text bytes.Buffer
		if err := set.ExecuteTemplate(&text, name, view(v)); err != nil {
			return nil, fmt.Errorf("render %s: %w", name, err)
		}
		files = append(files, File{Name: name, Text: text.Bytes()})
	}
	answers, err := renderChallenges(set, v.Challenges)
	if err != nil {
		return nil, fmt.Errorf("render release %d: %w", v.Release, err)
	}
	servers, err := renderTLS(set, v.TLS)
	if err != nil {
		return nil, fmt.Errorf("render release %d: %w", v.Release, err)
	}
	return slices.Concat(files, answers, servers), nil
}

func check(v Values) error {
	switch {
	case v.ReleaseAddress == "":
		return fmt.Errorf("render release %d: no release address", v.Release)
	case v.PerHost && len(v.KeyFiles) > 0:
		return fmt.Errorf("render release %d: ticket keys in mode per-host", v.Release)
	case !v.PerHost && len(v.KeyFiles) == 0:
		return fmt.Errorf("render release %d: no ticket keys", v.Release)
	case v.SessionTimeout%time.Second != 0 || v.SessionTimeout < 0:
		return fmt.Errorf("render release %d: session timeout %s is not in whole seconds", v.Release, v.SessionTimeout)
	}
	for _, d := range v.DefaultServers {
		if len(strings.Fields(d)) == 0 {
			return fmt.Errorf("render release %d: a default server without listen parameters", v.Release)
		}
	}
	return nil
}

// view is Values with the timeout as nginx writes it.
func view(v Values) any {
	timeout := ""
	if v.SessionTimeout > 0 {
		timeout = fmt.Sprintf("%ds", int64(v.SessionTimeout/time.Second))
	}
	return struct {
		Values
		SessionTimeout string
	}{v, timeout}
}

// listen splits listen parameters and makes them those of a default server.
func listen(parameters string) []string {
	fields := slices.DeleteFunc(strings.Fields(parameters), func(f string) bool { return f == "default_server" || f == "default" })
	if len(fields) == 0 {
		return []string{"default_server"}
	}
	return slices.Insert(fields, 1, "default_server")
}

package site

import (
	"encoding"
	"errors"
	"fmt"

	"github.com/zclconf/go-cty/cty"
)

// block is what may be in a block of a file.
type block struct {
	name       string
	attributes []attribute
	blocks     []block
	begin      func() block // a block inside another: called when it is there
}

// attribute is one setting: where it goes, and what to give.
type attribute struct {
	name string
	set  func(cty.Value) error
	give string
}

// layout says which settings there are and where in s they go.
func layout(s *Site, normalize func(string) (string, error)) block {
	return block{
		attributes: []attribute{
			names("server_names", &s.ServerNames, normalize, `give a list of host names, such as ["www.example.org"]`),
			names("listen", &s.Listen, socketOrSame, giveSockets), flag("proxy_protocol", &s.ProxyProtocol),
			word("http", &s.HTTP), names("http_listen", &s.HTTPListen, socketOrSame, giveSockets),
			flag("http2", &s.HTTP2), flag("websocket", &s.WebSocket),
			text("max_body_size", &s.MaxBody, `give a size in quotes, such as "10m"; "0" for no limit`), names("snippets", &s.Snippets, same, `give a list of file names, such as ["gzip.conf"]`),
		},
		blocks: []block{
			{name: "backends", begin: func() block { return backendsLayout(&s.Backends) }},
			{name: "tls", begin: func() block { return tlsLayout(&s.TLS) }},
			{name: "hsts", begin: func() block { s.HSTS = newHSTS(); return hstsLayout(s.HSTS) }},
			{name: "client_certificates", begin: func() block { s.Clients = newClients(); return clientsLayout(s.Clients) }},
			{name: "timeouts", begin: func() block { return timeoutsLayout(&s.Timeouts) }},
		},
	}
}

func backendsLayout(b *Backends) block {
	return block{attributes: []attribute{
		word("service", &b.Service), word("tag", &b.Tag), word("datacenter", &b.Datacenter),
		flag("passing_only", &b.PassingOnly), flag("weights", &b.Weights), flag("keep_last", &b.KeepLast),
		addresses("addresses", &b.Addresses), word("method", &b.Method), word("hash_key", &b.HashKey),
	}}
}

func tlsLayout(t *TLS) block {
	return block{attributes: []attribute{
		word("policy", &t.Policy), names("protocols", &t.Protocols, same, `give ["TLSv1.2", "TLSv1.3"] or one of them`), word("ciphers", &t.Ciphers),
		flag("prefer_server_ciphers", &t.ServerOrder), word("curves", &t.Curves),
	}}
}

func hstsLayout(h *HSTS) block {
	return block{attributes: []attribute{
		text("max_age", &h.MaxAge, giveDuration), flag("include_subdomains", &h.IncludeSubdomains), flag("preload", &h.Preload),
	}}
}

func clientsLayout(k *Clients) block {
	return block{attributes: []attribute{word("ca", &k.CA), word("mode", &k.Mode), number("depth", &k.Depth)}}
}

func timeoutsLayout(t *Timeouts) block {
	return block{attributes: []attribute{
		text("connect", &t.Connect, giveDuration), text("send", &t.Send, giveDuration),
		text("read", &t.Read, giveDuration), text("client_body", &t.ClientBody, giveDuration),
	}}
}

const giveSockets = `give a list of ports or addresses with a port, in quotes: ["8443", "[::]:8443"]`

const giveDuration = `give a duration in quotes, such as "90s" or "8760h"`

func same(s string) (string, error) { return s, nil }

// socketOrSame leaves what is no socket for Validate.
func socketOrSame(s string) (string, error) {
	if socket, err := Socket(s); err == nil {
		return socket, nil
	}
	return s, nil
}

func word[T ~string](name string, dst *T) attribute {
	return attribute{name, func(v cty.Value) error {
		s, err := asText(v)
		if err == nil && s == "" {
			err = errors.New("it is empty")
		}
		*dst = T(s)
		return err
	}, "give a text in quotes, or remove the line"}
}

func text(name string, dst encoding.TextUnmarshaler, give string) attribute {
	return attribute{name, func(v cty.Value) error {
		s, err := asText(v)
		if err != nil {
			return err
		}
		return dst.UnmarshalText([]byte(s))
	}, give}
}

func flag(name string, dst *bool) attribute {
	return attribute{name, func(v cty.Value) error {
		if err := want(v, cty.Bool); err != nil {
			return err
		}
		*dst = v.True()
		return nil
	}, "give true or false, without quotes"}
}

func number(name string, dst *int) attribute {
	return attribute{name, func(v cty.Value) error {
		if err := want(v, cty.Number); err != nil {
			return err
		}
		n, accuracy := v.AsBigFloat().Int64()
		if accuracy != 0 || int64(int32(n)) != n { //nolint:gosec // that is what is asked
			return errors.New("it is not a whole number, or out of range")
		}
		*dst = int(n)
		return nil
	}, "give a whole number, without quotes"}
}

// names is a list of texts, each as form makes it.
func names(name string, dst *[]string, form func(string) (string, error), give string) attribute {
	return attribute{name, func(v cty.Value) error {
		var list []string
		err := eachText(v, func(s string) error {
			s, err := form(s)
			list = append(list, s)
			return err
		})
		*dst = list
		return err
	}, give}
}

func addresses(name string, dst *[]Backend) attribute {
	return attribute{name, func(v cty.Value) error {
		var list []Backend
		err := eachText(v, func(s string) error {
			b, err := ParseBackend(s)
			list = append(list, b)
			return err
		})
		*dst = list
		return err
	}, `give IP addresses with a port, and perhaps weight=N or backup: ["192.0.2.1:8080 weight=2"]; name a host as a service in Consul`}
}

func eachText(v cty.Value, take func(string) error) error {
	if v.IsNull() || !v.Type().IsTupleType() {
		return errors.New("it is no list")
	}
	if v.LengthInt() == 0 {
		return errors.New("the list is empty")
	}
	for _, item := range v.AsValueSlice() {
		s, err := asText(item)
		if err == nil {
			err = take(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func asText(v cty.Value) (string, error) {
	if err := want(v, cty.String); err != nil {
		return "", err
	}
	return v.AsString(), nil
}

func want(v cty.Value, t cty.Type) error {
	switch {
	case v.IsNull():
		return errors.New("it is null")
	case !v.Type().Equals(t):
		return fmt.Errorf("it is a %s, not a %s", v.Type().FriendlyName(), t.FriendlyName())
	case !v.IsWhollyKnown():
		return errors.New("it is not known")
	}
	return nil
}

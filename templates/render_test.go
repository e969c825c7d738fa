package templates

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

func TestRenderMatchesGoldenFiles(t *testing.T) {
	tests := map[string]Values{
		"ring": {
			Release: 7, ReleaseAddress: "127.0.0.1:9181", SessionTimeout: 2 * time.Hour,
			KeyFiles:       []string{"/run/tlsfleet/tickets/aa.key", "/run/tlsfleet/tickets/bb.key"},
			DefaultServers: []string{"443 ssl", "[::]:443 ssl http2 default_server"}, Curves: map[string]string{"443 ssl": "X25519:prime256v1"},
		},
		"per-host": {Release: 8, ReleaseAddress: "127.0.0.1:9181", PerHost: true},
		"acme": {
			Release: 11, ReleaseAddress: "127.0.0.1:9181", PerHost: true,
			Challenges: &Challenges{Thumbprint: thumbprint, Listen: []string{"80 backlog=64", "[::]:80 proxy_protocol"}},
		},
		"acme-include": {Release: 12, ReleaseAddress: "127.0.0.1:9181", PerHost: true, Challenges: &Challenges{Thumbprint: thumbprint}},
		"acme-agent":   {Release: 13, ReleaseAddress: "127.0.0.1:9181", PerHost: true, Challenges: &Challenges{Proxy: "[::1]:9182", Listen: []string{"80"}}},
		"no-timeout":   {Release: 9, ReleaseAddress: "unix:/run/tlsfleet/release.sock", KeyFiles: []string{"/run/t/aa.key"}},
		"odd-spelling": {Release: 10, ReleaseAddress: "127.0.0.1:9181", KeyFiles: []string{`/run/a b;"c"\d/{aa}.key`}, DefaultServers: []string{"443 ssl; evil"}},
	}
	for name, values := range tests {
		t.Run(name, func(t *testing.T) {
			files, err := Render(values)
			if err != nil {
				t.Fatalf("Render(%+v) = %v", values, err)
			}
			var got bytes.Buffer
			for _, f := range files {
				got.WriteString("--- " + f.Name + "\n")
				got.Write(f.Text)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("Render(%s) =\n%s\nwant\n%s", name, got.Bytes(), want)
			}
		})
	}
}

// thumbprint is that of RFC 7638, section 3.1.
const thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

func TestRenderRefuses(t *testing.T) {
	good := Values{Release: 1, ReleaseAddress: "127.0.0.1:1", KeyFiles: []string{"/k"}}
	tests := map[string]func(*Values){
		"no address":            func(v *Values) { v.ReleaseAddress = "" },
		"no keys":               func(v *Values) { v.KeyFiles = nil },
		"keys in mode per-host": func(v *Values) { v.PerHost = true },
		"half seconds":          func(v *Values) { v.SessionTimeout = time.Second / 2 },
		"negative timeout":      func(v *Values) { v.SessionTimeout = -time.Second },
		"blank default server":  func(v *Values) { v.DefaultServers = []string{" "} },
		"newline in a path":     func(v *Values) { v.KeyFiles = []string{"/k\n"} },
		"variable in a path":    func(v *Values) { v.KeyFiles = []string{"/$k"} },
		"no thumbprint":         func(v *Values) { v.Challenges = &Challenges{} },
		"odd thumbprint":        func(v *Values) { v.Challenges = &Challenges{Thumbprint: thumbprint[:41] + "\"}"} },
		"blank acme listen":     func(v *Values) { v.Challenges = &Challenges{Thumbprint: thumbprint, Listen: []string{" "}} },
		"variable in acme":      func(v *Values) { v.Challenges = &Challenges{Thumbprint: thumbprint, Listen: []string{"$x"}} },
		"line in curves": func(v *Values) {
			v.DefaultServers, v.Curves = []string{"443 ssl"}, map[string]string{"443 ssl": "X25519\n"}
		},
		"NUL in listen": func(v *Values) { v.DefaultServers = []string{"443 s\x00sl"} },
	}
	if _, err := Render(good); err != nil {
		t.Fatalf("Render(good) = %v", err)
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			v := good
			spoil(&v)
			if files, err := Render(v); err == nil {
				t.Errorf("Render(%+v) = %s, want an error", v, files)
			}
		})
	}
}

func TestQuote(t *testing.T) {
	tests := map[string]struct {
		in, want string
		refused  bool
	}{
		"path":         {in: "/run/tlsfleet/a.key", want: "/run/tlsfleet/a.key"},
		"IPv6":         {in: "[::1]:443", want: "[::1]:443"},
		"empty":        {in: "", want: `""`},
		"space":        {in: "a b", want: `"a b"`},
		"semicolon":    {in: "a;b", want: `"a;b"`},
		"braces":       {in: "{a}", want: `"{a}"`},
		"double quote": {in: `a"b`, want: `"a\"b"`},
		"single quote": {in: `a'b`, want: `"a'b"`},
		"backslash":    {in: `a\n`, want: `"a\\n"`},
		"comment":      {in: "#a", want: `"#a"`},
		"umlaut":       {in: "/ü", want: `"/ü"`},
		"variable":     {in: "$a", refused: true},
		"newline":      {in: "a\nb", refused: true},
		"NUL":          {in: "a\x00", refused: true},
		"not UTF-8":    {in: "\xff", refused: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Quote(tt.in)
			if (err != nil) != tt.refused || got != tt.want {
				t.Errorf("Quote(%q) = %q, %v, want %q, refused %v", tt.in, got, err, tt.want, tt.refused)
			}
		})
	}
}

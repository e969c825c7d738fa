package templates

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// some are names as the renderer gives them.
var some = []TLSName{{"*.w.test", "+.w.test"}, {"a.test", "a.test"}, {"b.test", "b.test"}}

func TestRenderTLSMatchesGoldenFiles(t *testing.T) {
	const live, listen = "/var/lib/tlsfleet/live", "443 ssl"
	tests := map[string]TLS{
		"tls-open":     {Open: true, Live: live, None: "_none", Listen: []string{listen}},
		"tls-wildcard": {Open: true, Names: some[:1], Live: live, None: "_none", Listen: []string{listen, "[::]:443 ssl http2"}},
		"tls-listed":   {Names: some, Live: live, None: "_none", Listen: []string{listen}, ServerInclude: "/etc/nginx/tlsfleet.d/*.conf", Cache: true},
		"tls-static":   {Static: true, Names: some, Live: live, None: "_none", Listen: []string{"443 ssl http2 backlog=64"}, ServerInclude: "/etc/nginx/s.conf"},
		"tls-odd": {
			Names: some[1:2], Live: `/srv/a b;"c"/live`, None: "_none", Listen: []string{"443 ssl; evil"}, ServerInclude: "/etc/{x}",
			Keep: map[string]bool{"map_hash_max_size": true, "server_names_hash_bucket_size": true},
		},
	}
	for name, values := range tests {
		t.Run(name, func(t *testing.T) {
			files, err := Render(Values{Release: 1, ReleaseAddress: "127.0.0.1:1", PerHost: true, TLS: &values})
			if err != nil {
				t.Fatalf("Render(%+v) = %v", values, err)
			}
			got := files[len(files)-1]
			if got.Name != TLSFile {
				t.Fatalf("Render() ends in %s, want %s", got.Name, TLSFile)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, got.Text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Text) != string(want) {
				t.Errorf("Render(%s) =\n%s\nwant\n%s", name, got.Text, want)
			}
		})
	}
}

func TestRenderTLSRefuses(t *testing.T) {
	good := TLS{Names: some, Live: "/live", None: "_none", Listen: []string{"443 ssl"}}
	tests := map[string]func(*TLS){
		"no listen":           func(v *TLS) { v.Listen = nil },
		"blank listen":        func(v *TLS) { v.Listen = []string{" "} },
		"variable in listen":  func(v *TLS) { v.Listen = []string{"$x"} },
		"relative folder":     func(v *TLS) { v.Live = "live" },
		"variable in folder":  func(v *TLS) { v.Live = "/$x" },
		"newline in folder":   func(v *TLS) { v.Live = "/x\n" },
		"no entry to miss":    func(v *TLS) { v.None = "" },
		"variable in include": func(v *TLS) { v.ServerInclude = "/$x" },
		"empty name":          func(v *TLS) { v.Names = []TLSName{{"", "a"}} },
		"empty entry":         func(v *TLS) { v.Names = []TLSName{{"a.test", ""}} },
		"path as entry":       func(v *TLS) { v.Names = []TLSName{{"a.test", "../x"}} },
		"variable as entry":   func(v *TLS) { v.Names = []TLSName{{"a.test", "$x"}} },
		"regular expression":  func(v *TLS) { v.Names = []TLSName{{"~^a", "a"}} },
		"variable as name":    func(v *TLS) { v.Names = []TLSName{{"$x", "a"}} },
		"expression as name":  func(v *TLS) { v.Static, v.Names = true, []TLSName{{`*.(a|b)"`, "a"}} },
	}
	render := func(v TLS) error {
		_, err := Render(Values{Release: 1, ReleaseAddress: "127.0.0.1:1", PerHost: true, TLS: &v})
		return err
	}
	if err := render(good); err != nil {
		t.Fatalf("Render(good) = %v", err)
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			v := good
			spoil(&v)
			if err := render(v); err == nil {
				t.Errorf("Render(%+v) = nil, want an error", v)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	many := func(n, length int) (names []TLSName) {
		for range n {
			names = append(names, TLSName{strings.Repeat("a", length), "a"})
		}
		return names
	}
	tests := map[string]struct {
		names        []TLSName
		bucket, size int
	}{
		"none":    {nil, 192, 2048},
		"few":     {many(3, 20), 320, 2048},
		"longest": {many(1, 253), 2176, 2048},
		"1025":    {many(1025, 6), 192, 4096},
		"10,000":  {many(10_000, 20), 320, 32768},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := TLS{Names: tt.names}.Sizes()
			want := []Size{
				{"server_names_hash_bucket_size", tt.bucket}, {"server_names_hash_max_size", tt.size},
				{"map_hash_bucket_size", tt.bucket}, {"map_hash_max_size", tt.size},
			}
			if !slices.Equal(got, want) {
				t.Errorf("Sizes() = %v, want %v", got, want)
			}
		})
	}
}

func TestServerName(t *testing.T) {
	for name, want := range map[string]string{"a.test": "a.test", "*.w.test": "~^[a-z0-9_-]+[.]w[.]test$", "*.a-b_c.x.test": "~^[a-z0-9_-]+[.]a-b_c[.]x[.]test$"} {
		if got := ServerName(name); got != want {
			t.Errorf("ServerName(%s) = %s, want %s", name, got, want)
		}
		if back, ok := NameOf(want); ok != strings.HasPrefix(name, "*") || (ok && back != name) {
			t.Errorf("NameOf(%s) = %s, %t, want %s", want, back, ok, name)
		}
	}
	for _, s := range []string{"~^[a-z0-9_-]+[.]w[.]test", "~^w[.]test$", "~^[a-z0-9_-]+[.]w.test$", "*.w.test", ""} {
		if name, ok := NameOf(s); ok {
			t.Errorf("NameOf(%q) = %s, want none", s, name)
		}
	}
}

package renderer

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestHeldNames writes certificates into nginx's configuration in every way
// that loads them when it starts, and in some that do not.
func TestHeldNames(t *testing.T) {
	t.Parallel()
	const shop = "LIVE/shop.test/fullchain.pem"
	tests := map[string]struct {
		text  string // of nginx.conf
		files map[string]string
		links map[string]string // path to target
		want  string            // "name@file:line", comma between names
	}{
		"server":                  {"http {\nserver {\nssl_certificate " + shop + ";\n}\n}", nil, nil, "shop.test@nginx.conf:3"},
		"http":                    {"http {\nssl_certificate_key LIVE/shop.test/privkey.pem;\n}", nil, nil, "shop.test@nginx.conf:2"},
		"mail":                    {"mail {\nserver {\nssl_certificate " + shop + ";\n}\n}", nil, nil, "shop.test@nginx.conf:3"},
		"stream":                  {"stream {\nserver {\nssl_certificate " + shop + ";\n}\n}", nil, nil, "shop.test@nginx.conf:3"},
		"to the upstream":         {"http {\nserver {\nlocation / {\nproxy_ssl_certificate " + shop + ";\n}\n}\n}", nil, nil, "shop.test@nginx.conf:4"},
		"to the upstream of gRPC": {"http {\ngrpc_ssl_certificate_key LIVE/shop.test/privkey.pem;\n}", nil, nil, "shop.test@nginx.conf:2"},
		"trusted":                 {"http {\nproxy_ssl_trusted_certificate " + shop + ";\n}", nil, nil, "shop.test@nginx.conf:2"},
		"double quotes":           {"http {\nssl_certificate \"" + shop + "\";\n}", nil, nil, "shop.test@nginx.conf:2"},
		"single quotes":           {"http {\nssl_certificate '" + shop + "';\n}", nil, nil, "shop.test@nginx.conf:2"},
		"wildcard":                {"http {\nssl_certificate LIVE/+.shop.test/fullchain.pem;\n}", nil, nil, "*.shop.test@nginx.conf:2"},
		"below an if":             {"http {\nserver {\nif ($x) {\n}\nlocation / {\nlocation /a {\nproxy_ssl_certificate " + shop + ";\n}\n}\n}\n}", nil, nil, "shop.test@nginx.conf:7"},
		"two places, two names": {
			"http {\nssl_certificate " + shop + ";\nssl_certificate_key LIVE/shop.test/privkey.pem;\nserver {\nssl_certificate LIVE/b.test/fullchain.pem;\n}\n}", nil, nil,
			"b.test@nginx.conf:5,shop.test@nginx.conf:2",
		},
		"included":             {"http {\ninclude sites/a.conf;\n}", map[string]string{"sites/a.conf": "server {\nssl_certificate " + shop + ";\n}"}, nil, "shop.test@sites/a.conf:2"},
		"included by pattern":  {"http {\ninclude sites/*.conf;\n}", map[string]string{"sites/a.conf": "", "sites/b.conf": "ssl_certificate " + shop + ";"}, nil, "shop.test@sites/b.conf:1"},
		"included in includes": {"include a;", map[string]string{"a": "http { include sub/b; }", "sub/b": "include sub/c;", "sub/c": "ssl_certificate " + shop + ";"}, nil, "shop.test@sub/c:1"},
		"included at the top":  {"include modules/*.conf;\nevents {}", map[string]string{"modules/s.conf": "stream { ssl_certificate " + shop + "; }"}, nil, "shop.test@modules/s.conf:1"},
		"relative to the main file, not the included": {
			"http {\ninclude sites/a.conf;\n}", map[string]string{"sites/a.conf": "ssl_certificate state/live/shop.test/fullchain.pem;"}, nil, "shop.test@sites/a.conf:1",
		},
		"dots":             {"http {\nssl_certificate sites/../state/./live//shop.test/fullchain.pem;\n}", map[string]string{"sites/x": ""}, nil, "shop.test@nginx.conf:2"},
		"link to the file": {"http {\nssl_certificate shop.pem;\n}", nil, map[string]string{"shop.pem": shop}, "shop.test@nginx.conf:2"},
		"link to the folder": {
			"http {\nssl_certificate ssl/shop/fullchain.pem;\n}", nil, map[string]string{"ssl/shop": "../state/live/shop.test"}, "shop.test@nginx.conf:2",
		},
		"link to live":     {"http {\nssl_certificate certs/shop.test/fullchain.pem;\n}", nil, map[string]string{"certs": "LIVE"}, "shop.test@nginx.conf:2"},
		"link to state":    {"http {\nssl_certificate s/live/shop.test/fullchain.pem;\n}", nil, map[string]string{"s": "state"}, "shop.test@nginx.conf:2"},
		"link to a link":   {"http {\nssl_certificate one;\n}", nil, map[string]string{"one": "two", "two": shop}, "shop.test@nginx.conf:2"},
		"links in a ring":  {"http {\nssl_certificate one/a;\n}", nil, map[string]string{"one": "two", "two": "one"}, ""},
		"name not there":   {"http {\nssl_certificate LIVE/later.test/fullchain.pem;\n}", nil, nil, "later.test@nginx.conf:2"},
		"variable":         {"http {\nserver {\nssl_certificate LIVE/$ssl_server_name/fullchain.pem;\n}\n}", nil, nil, ""},
		"variable in data": {"http {\nssl_certificate data:$cert;\n}", nil, nil, ""},
		"data":             {"http {\nssl_certificate data:state/live/shop.test/fullchain.pem;\n}", nil, nil, ""},
		"engine":           {"http {\nssl_certificate_key engine:pkcs11:id_1;\n}", nil, nil, ""},
		"store":            {"http {\nssl_certificate_key store:pkcs11:id_1;\n}", nil, nil, ""},
		"an immutable one": {"http {\nssl_certificate state/store/00/fullchain.pem;\n}", nil, nil, ""},
		"elsewhere":        {"http {\nssl_certificate /etc/ssl/live/shop.test/fullchain.pem;\n}", nil, nil, ""},
		"other directive":  {"http {\nserver {\nroot LIVE/shop.test/root;\n}\n}", nil, nil, ""},
		"comment":          {"http {\n# ssl_certificate " + shop + ";\n}", nil, nil, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cfg := Config{ConfigFile: filepath.Join(dir, "nginx.conf"), StateDir: filepath.Join(dir, "state")}
			put := func(text string) string { return strings.ReplaceAll(text, "LIVE", cfg.liveDir()) }
			write(t, filepath.Join(cfg.liveDir(), "shop.test", fullchainFile), "")
			write(t, cfg.ConfigFile, put(tt.text))
			for file, text := range tt.files {
				write(t, filepath.Join(dir, file), put(text))
			}
			for path, target := range tt.links {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o750); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(put(target), filepath.Join(dir, path)); err != nil {
					t.Fatal(err)
				}
			}
			r := &Renderer{cfg: cfg}
			if got := heldText(r.inspection().HeldNames, dir); got != tt.want {
				t.Errorf("HeldNames = %q, want %q", got, tt.want)
			}
		})
	}
}

// heldText is each name with the first place that holds it.
func heldText(held map[string][]string, dir string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(held)) {
		all = append(all, name+"@"+strings.TrimPrefix(held[name][0], dir+"/"))
	}
	return strings.Join(all, ",")
}

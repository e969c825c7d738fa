package testkit

import (
	"os"
	"strings"
	"testing"
)

func TestVersionsAreThoseOfTheToolModules(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"../../e2e/tools/consul/go.mod": "github.com/hashicorp/consul v" + consulVersion + " ",
		"../../e2e/tools/pebble/go.mod": "github.com/letsencrypt/pebble/v2 v" + pebbleVersion,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s does not require %q", file, want)
		}
	}
}

func TestMissingBinariesAreNamedWithAHint(t *testing.T) {
	tests := map[string]struct {
		find func() (string, error)
		env  map[string]string
		want string
	}{
		"consul not built": {consulBinary, map[string]string{"TLSFLEET_CONSUL": "", "XDG_CACHE_HOME": "/nowhere"}, "make tools"},
		"consul by env":    {consulBinary, map[string]string{"TLSFLEET_CONSUL": "/nowhere/consul"}, "TLSFLEET_CONSUL"},
		"nginx by env":     {nginxBinary, map[string]string{"TLSFLEET_NGINX": "/nowhere/nginx"}, "TLSFLEET_NGINX"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			if path, err := tt.find(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("find = %q, %v, want an error with %q", path, err, tt.want)
			}
		})
	}
}

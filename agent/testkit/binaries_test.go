package testkit

import (
	"os"
	"strings"
	"testing"
)

func TestConsulVersionIsTheOneTheToolModuleBuilds(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../e2e/tools/consul/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := "github.com/hashicorp/consul v" + consulVersion + " "; !strings.Contains(string(text), want) {
		t.Errorf("e2e/tools/consul/go.mod does not require %q", want)
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

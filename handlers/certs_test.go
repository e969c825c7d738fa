package handlers

import (
	"strings"
	"testing"
)

func TestPlanCerts(t *testing.T) {
	held := map[string][]string{"own.test": {"/etc/nginx/own.conf:7"}}
	add := CertChange{Added: []string{"a.test"}}
	renew := CertChange{Replaced: []string{"a.test", "b.test", "c.test", "d.test"}}
	drop := CertChange{Dropped: []string{"a.test"}}
	tests := map[string]struct {
		serving CertServing
		change  CertChange
		reload  bool
		reason  string
	}{
		"nothing":                    {CertServing{Static: true}, CertChange{}, false, "nothing"},
		"open, new name":             {CertServing{}, add, false, "next handshake"},
		"open, renewals":             {CertServing{}, renew, false, "a.test b.test c.test and 1 more"},
		"files only, new wildcard":   {CertServing{}, CertChange{Added: []string{"*.w.test"}}, false, "next handshake"},
		"open, new wildcard":         {CertServing{Wild: map[string]bool{}}, CertChange{Added: []string{"*.w.test"}}, true, "*.w.test"},
		"open, below a wildcard":     {CertServing{Wild: map[string]bool{"w.test": true}}, CertChange{Added: []string{"x.w.test"}}, true, "x.w.test"},
		"open, wildcard renewed":     {CertServing{Wild: map[string]bool{"w.test": true}}, CertChange{Replaced: []string{"*.w.test"}}, false, "next handshake"},
		"listed, new name":           {CertServing{Listed: true}, add, true, "list of names"},
		"listed, name dropped":       {CertServing{Listed: true}, drop, true, "list of names"},
		"listed, renewals":           {CertServing{Listed: true}, renew, false, "next handshake"},
		"static, renewals":           {CertServing{Static: true}, renew, true, "static"},
		"held by the operator":       {CertServing{Held: held}, CertChange{Replaced: []string{"own.test"}}, true, "/etc/nginx/own.conf:7"},
		"another name than the held": {CertServing{Held: held}, renew, false, "next handshake"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := PlanCerts(tt.serving, tt.change)
			if got.Reload != tt.reload || !strings.Contains(got.Reason, tt.reason) {
				t.Errorf("PlanCerts() = %+v, want reload %v because of %q", got, tt.reload, tt.reason)
			}
		})
	}
}

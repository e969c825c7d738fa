package dns01

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// file writes a file with a text.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const hush = "aHVzaC1odXNo" // base64
	tests := map[string]struct {
		provider string
		settings map[string]string
		file     string
		want     string // in the error; empty: none
	}{
		"rfc2136":              {"rfc2136", map[string]string{"DNSUPDATE_NAMESERVER": "127.0.0.1"}, "", ""},
		"its other names":      {"rfc2136", map[string]string{"RFC2136_NAMESERVER": "127.0.0.1"}, "", ""},
		"secret in a file":     {"rfc2136", map[string]string{"DNSUPDATE_NAMESERVER": "127.0.0.1", "DNSUPDATE_TSIG_KEY": "k", "DNSUPDATE_TSIG_SECRET_FILE": file(t, hush+"\n")}, "", ""},
		"all in a file":        {"rfc2136", nil, "# of the fleet\n\nDNSUPDATE_NAMESERVER = 127.0.0.1\nDNSUPDATE_TSIG_KEY=k\nDNSUPDATE_TSIG_SECRET=" + hush, ""},
		"httpreq":              {"httpreq", map[string]string{"HTTPREQ_ENDPOINT": "https://dns.example.org/api", "HTTPREQ_PASSWORD": hush}, "", ""},
		"exec":                 {"exec", map[string]string{"EXEC_PATH": "/bin/true", "EXEC_MODE": "RAW"}, "", ""},
		"acme-dns":             {"acme-dns", map[string]string{"ACME_DNS_API_BASE": "https://auth.acme-dns.io", "ACME_DNS_STORAGE_PATH": "/nowhere"}, "", ""},
		"cloudflare":           {"cloudflare", map[string]string{"CF_DNS_API_TOKEN": hush}, "", ""},
		"no such provider":     {"bind", nil, "", "no such provider"},
		"cloud provider":       {"route53", map[string]string{"AWS_NOTHING": hush}, "", cloudHint},
		"nothing":              {"rfc2136", nil, "", "DNSUPDATE_NAMESERVER: it is missing"},
		"unknown":              {"rfc2136", map[string]string{"DNSUPDATE_NAMESERVER": "127.0.0.1", "DNSUPDATE_SECRET": hush}, "", "DNSUPDATE_SECRET is not known"},
		"half a key":           {"rfc2136", map[string]string{"DNSUPDATE_NAMESERVER": "127.0.0.1", "DNSUPDATE_TSIG_SECRET": hush}, "", "need each other"},
		"not base64":           {"rfc2136", map[string]string{"DNSUPDATE_NAMESERVER": "127.0.0.1", "DNSUPDATE_TSIG_KEY": "k", "DNSUPDATE_TSIG_SECRET": "%" + hush}, "", "not base64"},
		"bad algorithm":        {"rfc2136", map[string]string{"DNSUPDATE_NAMESERVER": "127.0.0.1", "DNSUPDATE_TSIG_ALGORITHM": "rot13"}, "", "rot13"},
		"bad number":           {"rfc2136", map[string]string{"DNSUPDATE_NAMESERVER": "127.0.0.1", "DNSUPDATE_TTL": hush}, "", "DNSUPDATE_TTL: not a whole number"},
		"file is missing":      {"rfc2136", map[string]string{"DNSUPDATE_NAMESERVER_FILE": "/nowhere"}, "", "/nowhere"},
		"password in the URL":  {"httpreq", map[string]string{"HTTPREQ_ENDPOINT": "https://u:" + hush + "@dns.example.org"}, "", "not a URL"},
		"relative program":     {"exec", map[string]string{"EXEC_PATH": "true"}, "", "not the path of a program"},
		"no program":           {"exec", nil, "", "EXEC_PATH: it is missing"},
		"no storage":           {"acme-dns", map[string]string{"ACME_DNS_API_BASE": "https://auth.acme-dns.io"}, "", "storagePath"},
		"no token":             {"cloudflare", nil, "", "invalid credentials"},
		"line without a value": {"rfc2136", nil, "DNSUPDATE_NAMESERVER=127.0.0.1\n" + hush, ":2: not NAME=value"},
		"twice":                {"rfc2136", map[string]string{"DNSUPDATE_NAMESERVER": "127.0.0.1"}, "DNSUPDATE_NAMESERVER=127.0.0.2", "given twice"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z := Zone{Provider: tt.provider, Settings: secrets(tt.settings)}
			if tt.file != "" {
				z.SettingsFile = file(t, tt.file)
			}
			err := z.Check()
			if tt.want == "" {
				if err != nil {
					t.Errorf("Check() = %v, want nil", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), hush) {
				t.Errorf("Check() = %v, want one with %q and without the secret", err, tt.want)
			}
		})
	}
}

func TestCleanErrorHasNoSecret(t *testing.T) {
	t.Parallel()
	s := &settings{}
	s.hide("p/ss word")
	err := s.clean(errors.Join(ErrZone, errors.New("GET https://x/?key=p%2Fss+word\nwith p/ss word")))
	if got := err.Error(); strings.Contains(got, "ss") && strings.Contains(got, "word") || strings.Contains(got, "\n") || !errors.Is(err, ErrZone) {
		t.Errorf("clean() = %q, want one line without the secret that is still %v", got, ErrZone)
	}
}

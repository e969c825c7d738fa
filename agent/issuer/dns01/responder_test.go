package dns01

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// The record of a.test for the key authorization "token.thumbprint".
const (
	recordName  = "_acme-challenge.a.test"
	recordValue = "61rBZ_4knHblO0MNoxFsXZ_eTFUHum0B6IVRbhvUn5I"
)

func TestRecordIsSetSeenAndTakenAway(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	script := nsupdate(t, bind)
	raw := filepath.Join(t.TempDir(), "raw.sh")
	text := fmt.Sprintf(`#!/bin/sh
[ "$2 $3" = "-- a.test" ] && [ -n "$4" ] || exit 1
exec %s $1 %s. $(printf %%s "$5" | openssl dgst -sha256 -binary | base64 | tr +/ -_ | tr -d =)
`, script, recordName)
	if err := os.WriteFile(raw, []byte(text), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	tsig := file(t, fmt.Sprintf("key %q {\n\talgorithm hmac-sha256;\n\tsecret %q;\n};\n", bind.KeyName, bind.Secret))
	web := httpUpdates(t, script)
	tests := map[string]Zone{
		"rfc2136":  zoneOf(bind, "rfc2136", signed(bind)),
		"key file": zoneOf(bind, "rfc2136", secrets(map[string]string{"DNSUPDATE_NAMESERVER": bind.Addr, "DNSUPDATE_TSIG_FILE": tsig})),
		"exec":     zoneOf(bind, "exec", secrets(map[string]string{"EXEC_PATH": script})),
		"exec raw": zoneOf(bind, "exec", secrets(map[string]string{"EXEC_PATH": raw, "EXEC_MODE": "RAW"})),
		"httpreq": zoneOf(bind, "httpreq", secrets(map[string]string{
			"HTTPREQ_ENDPOINT": web.URL, "HTTPREQ_USERNAME": "fleet", "HTTPREQ_PASSWORD_FILE": file(t, "right-password\n"),
		})),
	}
	for name, zone := range tests {
		t.Run(name, func(t *testing.T) {
			r := responder(t, bind, zone)
			if err := r.Present(t.Context(), "a.test", "token", "token.thumbprint"); err != nil {
				t.Fatalf("Present() = %v", err)
			}
			if got := bind.TXT(t, recordName); !slices.Equal(got, []string{recordValue}) {
				t.Errorf("TXT after Present() = %q, want %q", got, recordValue)
			}
			r.CleanUp(t.Context(), "a.test", "token", "token.thumbprint")
			if got := bind.TXT(t, recordName); len(got) > 0 {
				t.Errorf("TXT after CleanUp() = %q, want none", got)
			}
			if err := r.Prove(t.Context(), "a.test"); err != nil {
				t.Errorf("Prove() = %v", err)
			}
			if got := bind.TXT(t, recordName); len(got) > 0 {
				t.Errorf("TXT after Prove() = %q, want none", got)
			}
		})
	}
}

func TestRecordIsWhereTheCNAMELeads(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{
		Zones:  []string{"a.test", "delegated.test"},
		CNAMEs: map[string]string{recordName: "one.delegated.test", "one.delegated.test": "two.delegated.test"},
	})
	r := responder(t, bind, zoneOf(bind, "rfc2136", signed(bind)))
	if err := r.Present(t.Context(), "a.test", "token", "token.thumbprint"); err != nil {
		t.Fatalf("Present() = %v", err)
	}
	if got := bind.TXT(t, "two.delegated.test"); !slices.Equal(got, []string{recordValue}) {
		t.Errorf("TXT at the end of the CNAMEs = %q, want %q", got, recordValue)
	}
	r.CleanUp(t.Context(), "a.test", "token", "token.thumbprint")
	if got := bind.TXT(t, "two.delegated.test"); len(got) > 0 {
		t.Errorf("TXT after CleanUp() = %q, want none", got)
	}
}

// TestNameServersOfTheZoneAreAsked asks those that the zone names.
func TestNameServersOfTheZoneAreAsked(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	zone := zoneOf(bind, "rfc2136", signed(bind))
	zone.Nameservers = nil
	r := responder(t, bind, zone)
	_, r.lookup.port, _ = strings.Cut(bind.Addr, ":")
	if err := r.Prove(short(t), "www.a.test"); err != nil {
		t.Errorf("Prove() = %v", err)
	}
	r.Zones[0].Propagation, r.lookup.port = 300*time.Millisecond, strconv.Itoa(testkit.FreePort(t, "127.0.0.1"))
	if err := r.Prove(short(t), "www.a.test"); !errors.Is(err, ErrUnseen) {
		t.Errorf("Prove() while the zone's name server is away = %v, want %v", err, ErrUnseen)
	}
	r.Zones[0].Propagation = 0
	if err := r.Prove(short(t), "www.a.test"); err != nil {
		t.Errorf("Prove() without a look = %v", err)
	}
}

func TestProveFails(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	other := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test", "missing.test"}})
	script := nsupdate(t, bind)
	web := httpUpdates(t, script)
	with := func(name, value string) Zone {
		z := zoneOf(bind, "rfc2136", signed(bind))
		z.Settings[name] = secrets(map[string]string{"": value})[""]
		return z
	}
	late := zoneOf(other, "rfc2136", signed(bind))
	late.Propagation = 300 * time.Millisecond
	gone := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))
	failing := filepath.Join(t.TempDir(), "failing.sh")
	if err := os.WriteFile(failing, []byte("#!/bin/sh\necho no such customer >&2; exit 3\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	tests := map[string]struct {
		name string
		zone Zone
		want error  // nil: any
		text string // in the error
	}{
		"wrong key":          {"a.test", with("DNSUPDATE_TSIG_SECRET", "d3Jvbmcta2V5LXdyb25nLWtleQ=="), ErrCredentials, ""},
		"unknown key":        {"a.test", with("DNSUPDATE_TSIG_KEY", "other."), ErrCredentials, ""},
		"zone is missing":    {"x.missing.test", zoneOf(bind, "rfc2136", signed(bind)), ErrZone, "missing.test"},
		"server is away":     {"a.test", with("DNSUPDATE_NAMESERVER", gone), nil, gone},
		"shown elsewhere":    {"a.test", late, ErrUnseen, "does not show"},
		"program fails":      {"a.test", zoneOf(bind, "exec", secrets(map[string]string{"EXEC_PATH": failing})), nil, "no such customer"},
		"program is missing": {"a.test", zoneOf(bind, "exec", secrets(map[string]string{"EXEC_PATH": "/nowhere"})), nil, "/nowhere"},
		"wrong password": {"a.test", zoneOf(bind, "httpreq", secrets(map[string]string{
			"HTTPREQ_ENDPOINT": web.URL, "HTTPREQ_USERNAME": "fleet", "HTTPREQ_PASSWORD": "wrong-password",
		})), ErrCredentials, "401"},
		"in no zone": {"a.test", Zone{Domains: []string{"b.test"}}, errNoZone, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := responder(t, other, tt.zone).Prove(short(t), tt.name)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("Prove() = %v, want %v with %q", err, tt.want, tt.text)
			}
			for _, secret := range []string{bind.Secret, "wrong-password", "d3Jvbmcta2V5"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("Prove() = %v shows a secret", err)
				}
			}
			if got := bind.TXT(t, recordName); len(got) > 0 {
				t.Errorf("TXT = %q, want none", got)
			}
		})
	}
}

// TestResolverThatIsSilentIsNoAnswer has no CNAME be seen where one may be.
func TestResolverThatIsSilentIsNoAnswer(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	r := responder(t, bind, zoneOf(bind, "rfc2136", signed(bind)))
	r.lookup.servers = []string{fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))}
	if err := r.Prove(short(t), "a.test"); !errors.Is(err, errDNS) {
		t.Errorf("Prove() = %v, want %v", err, errDNS)
	}
	if n := bind.Added(t, recordName); n > 0 {
		t.Errorf("%d records were set, want none", n)
	}
}

// TestOneRecordServesOneChallengeAtATime has a name and its wildcard need the same
// record.
func TestOneRecordServesOneChallengeAtATime(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	r := responder(t, bind, zoneOf(bind, "rfc2136", signed(bind)))
	if err := r.Present(t.Context(), "a.test", "token", "token.thumbprint"); err != nil {
		t.Fatalf("Present() = %v", err)
	}
	second := make(chan error, 1)
	go func() { second <- r.Present(t.Context(), "a.test", "token2", "token2.thumbprint") }()
	brief, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := r.Present(brief, "a.test", "token3", "token3.thumbprint"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Present() while another challenge has the record = %v, want %v", err, context.DeadlineExceeded)
	}
	r.CleanUp(t.Context(), "a.test", "token3", "token3.thumbprint")
	if got := bind.TXT(t, recordName); !slices.Equal(got, []string{recordValue}) {
		t.Errorf("TXT while the first challenge is on = %q, want %q", got, recordValue)
	}
	r.CleanUp(t.Context(), "a.test", "token", "token.thumbprint")
	if err := <-second; err != nil {
		t.Errorf("Present() after the first challenge = %v", err)
	}
	r.CleanUp(t.Context(), "a.test", "token2", "token2.thumbprint")
	if got := bind.TXT(t, recordName); len(got) > 0 {
		t.Errorf("TXT after all = %q, want none", got)
	}
	testkit.Eventually(t, 50*time.Second, "nothing to be kept", r.idle)
}

// TestNextLeaderTakesAway has a leader lose its lease while a record is set.
func TestNextLeaderTakesAway(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	former := responder(t, bind, zoneOf(bind, "rfc2136", signed(bind)))
	lease, end := context.WithCancel(t.Context())
	if err := former.Present(lease, "a.test", "token", "token.thumbprint"); err != nil {
		t.Fatalf("Present() = %v", err)
	}
	end()
	former.CleanUp(lease, "a.test", "token", "token.thumbprint")
	if got := bind.TXT(t, recordName); len(got) != 1 {
		t.Errorf("TXT after the lease = %q, want the record: the next leader may need it", got)
	}
	next := responder(t, bind, zoneOf(bind, "rfc2136", signed(bind)))
	next.CleanUp(t.Context(), "a.test", "token", "token.thumbprint")
	if got := bind.TXT(t, recordName); len(got) > 0 {
		t.Errorf("TXT after the next leader's CleanUp() = %q, want none", got)
	}
}

// TestLeaseEndsAProviderThatHangs has a program and an HTTP server hang.
func TestLeaseEndsAProviderThatHangs(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	dir := t.TempDir()
	hanging := filepath.Join(dir, "hanging.sh")
	if err := os.WriteFile(hanging, []byte("#!/bin/sh\necho $$ > "+dir+"/pid\nexec sleep 600\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	asked, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil { // else it does not see the client go
			t.Error(err)
		}
		asked <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	defer web.Close()
	tests := map[string]struct {
		zone   Zone
		begun  func() error
		ending func() error
	}{
		"exec": {zoneOf(bind, "exec", secrets(map[string]string{"EXEC_PATH": hanging})),
			func() error {
				text, err := os.ReadFile(dir + "/pid")
				if err == nil && !strings.HasSuffix(string(text), "\n") {
					err = errors.New("the program has not written it yet")
				}
				return err
			},
			func() error {
				text, err := os.ReadFile(dir + "/pid")
				if err != nil {
					return err
				}
				pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
				if err == nil && syscall.Kill(pid, 0) == nil {
					err = errors.New("the program runs")
				}
				return err
			}},
		"httpreq": {zoneOf(bind, "httpreq", secrets(map[string]string{"HTTPREQ_ENDPOINT": web.URL})), received(asked), received(gone)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			lease, end := context.WithCancel(t.Context())
			done := make(chan error, 1)
			r := responder(t, bind, tt.zone)
			go func() { done <- r.Present(lease, "a.test", "token", "token.thumbprint") }()
			testkit.Eventually(t, 50*time.Second, "the provider to be asked", tt.begun)
			end()
			if err := <-done; err == nil {
				t.Error("Present() = nil, want an error")
			}
			testkit.Eventually(t, 50*time.Second, "the end of what it began", tt.ending)
		})
	}
}

func received(c chan struct{}) func() error {
	return func() error {
		select {
		case <-c:
			return nil
		default:
			return errors.New("not yet")
		}
	}
}

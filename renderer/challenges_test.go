package renderer

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// Thumbprints of account keys.
const (
	oneKey     = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	anotherKey = "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
)

// webRig is a rig whose nginx also has servers without TLS, all of them locked,
// of which the first is the default of the socket.
func webRig(t *testing.T) (*rig, string) {
	t.Helper()
	address := freeAddress(t)
	state := filepath.Join(t.TempDir(), "state")
	return newRig(t, testkit.NginxOptions{StateDir: state, HTTP: fmt.Sprintf(`
	deny all;
	auth_basic locked;
	auth_basic_user_file /nowhere;
	server { listen %[1]s default_server; server_name _; location / { return 200 "first\n"; } }
	server { listen %[1]s; server_name own.test; include %[2]s/nginx/current/acme-*.inc; location / { return 200 "own\n"; } }
	server { listen %[1]s; server_name *.wild.test; location / { return 200 "wild\n"; } }`, address, state)}), address
}

// page is what a server answers: status, Location and text.
func page(t *testing.T, address, host, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), answerTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.0\r\n"+host+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(text), "\r\n\r\n")
	words := strings.Fields(head)
	if len(words) < 2 {
		t.Fatalf("%s answers %q", address, text)
	}
	if words[1] != strconv.Itoa(http.StatusOK) {
		body = ""
	}
	for line := range strings.SplitSeq(head, "\r\n") {
		if place, ok := strings.CutPrefix(line, "Location: "); ok {
			body = place
		}
	}
	return words[1] + " " + body
}

func TestChallengesAreAnswered(t *testing.T) {
	t.Parallel()
	g, address := webRig(t)
	g.nginx.Start(t)
	rel := ringRelease(newRing(t, 1))
	rel.Challenges.Listen = []string{address}
	g.mustProve(t, rel)
	const token = "/.well-known/acme-challenge/A-z_09"
	if got := page(t, address, "Host: any.test", token); got != "200 first\n" {
		t.Errorf("without a thumbprint nginx answers %q, want what it always did", got)
	}
	rel.Challenges.Thumbprint = oneKey
	g.mustProve(t, rel)
	answer := "200 A-z_09." + oneKey
	tests := map[string]struct{ host, path, want string }{
		"any name":           {"Host: any.test", token, answer},
		"name in upper case": {"Host: ANY.test:80", token, answer},
		"server of its own":  {"Host: own.test", token, answer},
		"the same, no token": {"Host: own.test", "/x", "200 own\n"},
		"other wildcard":     {"Host: a.wild.test", token, "200 wild\n"},
		"redirect":           {"Host: Any.test", "/a%0d%0ab?c=d", "301 https://any.test/a%0d%0ab?c=d"},
		"port in the host":   {"Host: any.test:8080", "/", "301 https://any.test/"},
		"no host":            {"X: y", "/", "200 first\n"},
		"no token":           {"Host: any.test", "/.well-known/acme-challenge/", "301 https://any.test/.well-known/acme-challenge/"},
		"long token":         {"Host: own.test", "/.well-known/acme-challenge/" + strings.Repeat("a", 201), "200 own\n"},
		"odd token":          {"Host: own.test", "/.well-known/acme-challenge/a%22b", "200 own\n"},
		"token with a dot":   {"Host: own.test", "/.well-known/acme-challenge/a.b", "200 own\n"},
	}
	for name, tt := range tests {
		if got := page(t, address, tt.host, tt.path); got != tt.want {
			t.Errorf("%s: nginx answers %q, want %q", name, got, tt.want)
		}
	}
	// Newer versions of nginx refuse it themselves.
	if got := page(t, address, `Host: "any.test`, "/"); got != "404 " && got != "400 " {
		t.Errorf("odd host: nginx answers %q, want 404 or 400", got)
	}
	rel.Challenges.Thumbprint = anotherKey
	g.mustProve(t, rel)
	if got, want := page(t, address, "Host: own.test", token), "200 A-z_09."+anotherKey; got != want {
		t.Errorf("with another key nginx answers %q, want %q", got, want)
	}
}

func TestChallengesStayAfterARestart(t *testing.T) {
	t.Parallel()
	g, address := webRig(t)
	rel := ringRelease(newRing(t, 1))
	rel.Challenges = Challenges{Thumbprint: oneKey, Listen: []string{address}}
	g.apply(t, rel)
	g.reopen(t)
	if got := g.active(t).Challenges; !got.Same(rel.Challenges) {
		t.Fatalf("Active() answers challenges as %+v, want %+v", got, rel.Challenges)
	}
	tests := map[string]struct {
		want Challenges
		same bool
	}{
		"nothing changed": {rel.Challenges, true},
		"another key":     {Challenges{Thumbprint: anotherKey, Listen: []string{address}}, false},
		"another socket":  {Challenges{Thumbprint: oneKey, Listen: []string{"127.0.0.1:1"}}, false},
		"no server":       {Challenges{Thumbprint: oneKey}, false},
		"no key":          {Challenges{Listen: []string{address}}, false},
		"by the agent":    {Challenges{Proxy: "127.0.0.1:1", Listen: []string{address}}, false},
	}
	for name, tt := range tests {
		if why, err := g.Outdated(TLSServers{}, tt.want); err != nil || (why == "") != tt.same {
			t.Errorf("%s: Outdated() = %q, %v, want same: %t", name, why, err, tt.same)
		}
	}
	path := filepath.Join(g.cfg.releaseDir(g.active(t).Release), manifestFile)
	write(t, path, strings.Replace(read(t, path), oneKey, oneKey[1:], 1))
	if got := g.active(t).Challenges; got.Thumbprint != "" {
		t.Errorf("Active() of a damaged release answers challenges as %+v, want not at all", got)
	}
	rel.Challenges.Thumbprint = oneKey[1:]
	if _, err := g.Apply(t.Context(), rel); err == nil {
		t.Errorf("Apply() with the thumbprint %q = nil, want an error", rel.Challenges.Thumbprint)
	}
}

// TestIncludedChallengesAreTestedBeforeTheFlip has the operator include the file
// where nginx refuses it.
func TestIncludedChallengesAreTestedBeforeTheFlip(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	g := newRig(t, testkit.NginxOptions{StateDir: state, HTTP: "include " + state + "/nginx/current/acme-*.inc;"})
	g.nginx.Start(t)
	rel := ringRelease(newRing(t, 1))
	g.mustProve(t, rel)
	before := g.active(t).Release
	rel.Challenges.Thumbprint = oneKey
	var steps []string
	g.cfg.OnStep = func(step string) { steps = append(steps, step) }
	o := g.apply(t, rel)
	if o.Reload.Result != fleet.ReloadRejected || slices.Contains(steps, StepFlipped) {
		t.Errorf("Apply() = %+v after %v, want it rejected before the flip", o.Reload, steps)
	}
	if now := g.active(t).Release; now != before {
		t.Errorf("Active() = release %d, want %d", now, before)
	}
	if err := g.nginx.Test(t); err != nil {
		t.Errorf("nginx cannot start any more: %v", err)
	}
	if _, err := os.Stat(filepath.Join(g.cfg.releaseDir(before), "acme-challenge.inc")); !os.IsNotExist(err) {
		t.Errorf("a release without a thumbprint has the file to include: %v", err)
	}
}

// TestChallengesArePassedOn: nothing but the path of a challenge reaches the
// agent, whatever protects the site.
func TestChallengesArePassedOn(t *testing.T) {
	t.Parallel()
	g, address := webRig(t)
	g.nginx.Start(t)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodGet || r.Host != "challenges" || len(body) > 0 || len(r.Header) > 0 {
			t.Errorf("the agent is asked %s %s of %s with %q and %v, %v", r.Method, r.URL, r.Host, body, r.Header, err)
		}
		if strings.HasSuffix(r.URL.Path, "/none") {
			http.NotFound(w, r)
			return
		}
		if _, err := io.WriteString(w, "answer to "+r.URL.Path); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(agent.Close)
	rel := ringRelease(newRing(t, 1))
	rel.Challenges = Challenges{Proxy: agent.Listener.Addr().String(), Listen: []string{address}}
	g.mustProve(t, rel)
	const path = "/.well-known/acme-challenge/"
	cookie := "\r\nCookie: secret"
	tests := map[string]struct{ host, path, want string }{
		"any name":          {"Host: any.test" + cookie, path + "A-z_09", "200 answer to " + path + "A-z_09"},
		"server of its own": {"Host: own.test" + cookie, path + "A-z_09", "200 answer to " + path + "A-z_09"},
		"not known":         {"Host: own.test", path + "none", "404 "},
		"no token":          {"Host: own.test", path, "200 own\n"},
		"odd token":         {"Host: own.test", path + "a.b", "200 own\n"},
		"above":             {"Host: own.test", path + "../../v1/status", "200 own\n"},
		"long token":        {"Host: own.test", path + strings.Repeat("a", 201), "200 own\n"},
	}
	for name, tt := range tests {
		if got := page(t, address, tt.host, tt.path); got != tt.want {
			t.Errorf("%s: nginx answers %q, want %q", name, got, tt.want)
		}
	}
	agent.Close()
	if got := page(t, address, "Host: own.test", path+"A-z_09"); got != "502 " {
		t.Errorf("without an agent nginx answers %q, want 502", got)
	}
	for _, proxy := range []string{"10.0.0.1:1", "localhost:1", "127.0.0.1", "127.0.0.1:1; evil"} {
		rel.Challenges.Proxy = proxy
		if _, err := g.Apply(t.Context(), rel); err == nil {
			t.Errorf("Apply() with challenges passed on to %q = nil, want an error", proxy)
		}
	}
}

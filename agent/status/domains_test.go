package status_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/status"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// desk says what it was asked for.
type desk struct{ err error }

func (d desk) DoDomains(_ context.Context, do issuance.Verb, wishes []issuance.Wish, by string) ([]status.DomainResult, error) {
	results := make([]status.DomainResult, len(wishes))
	for i, w := range wishes {
		results[i] = status.DomainResult{Names: w.Names, Result: status.Fate(do), Error: w.Group + w.Profile + " " + by}
	}
	return results, d.err
}

func (d desk) ListDomains(_ context.Context, q status.DomainQuery) (any, error) {
	return fmt.Sprintf("%+v", q), d.err
}

func (d desk) ShowDomain(_ context.Context, name string) (any, error) { return name, d.err }

// askDesk makes one request with a body.
func askDesk(t *testing.T, socket, method, path, body string) reply {
	t.Helper()
	r, err := askWith(t, socket, method, path, nil, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDomainsAreAskedFor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, &node{})
	var many strings.Builder
	for i := range status.MaxDomains + 1 {
		fmt.Fprintf(&many, `,"n%d.test"`, i)
	}
	tests := map[string]struct {
		method, path, body string
		code               int
		want               string
	}{
		"list":           {"GET", "/v1/domains", "", 200, "State: Group: After: Limit:1000"},
		"chosen":         {"GET", "/v1/domains?match=a&state=parked&group=g&after=b.test&limit=7", "", 200, "{Match:a State:parked Group:g After:b.test Limit:7}"},
		"state unknown":  {"GET", "/v1/domains?state=asleep", "", 400, "asleep"},
		"limit of none":  {"GET", "/v1/domains?limit=0", "", 400, "want 1 to 10000"},
		"limit too high": {"GET", "/v1/domains?limit=10001", "", 400, "want 1 to 10000"},
		"twice":          {"GET", "/v1/domains?group=a&group=b", "", 400, "twice"},
		"mistyped":       {"GET", "/v1/domains?grop=a", "", 400, "unknown parameter"},
		"show":           {"GET", "/v1/domains/A.test", "", 200, `"A.test"`},
		"show wildcard":  {"GET", "/v1/domains/*.a.test", "", 200, `"*.a.test"`},
		"names":          {"POST", "/v1/domains", `{"names":["a.test","b.test"]}`, 200, `[{"names":["a.test"],"result":"add","error":" user `},
		"certificates":   {"POST", "/v1/domains", `{"certificates":[{"names":["a.test","b.test"],"group":"g","profile":"p"}]}`, 200, `{"names":["a.test","b.test"],"result":"add","error":"gp user`},
		"retry":          {"POST", "/v1/domains/retry", `{"names":["a.test"]}`, 200, `"result":"retry"`},
		"renew":          {"POST", "/v1/domains/renew", `{"names":["a.test"]}`, 200, `"result":"renew"`},
		"remove":         {"POST", "/v1/domains/remove", `{"names":["a.test"]}`, 200, `"result":"remove"`},
		"keep":           {"POST", "/v1/domains/remove", `{"names":["a.test"],"keep_certificate":true}`, 200, `"result":"forget"`},
		"keep elsewhere": {"POST", "/v1/domains/retry", `{"names":["a.test"],"keep_certificate":true}`, 400, "is for remove"},
		"none":           {"POST", "/v1/domains", `{"names":[]}`, 400, "want 1 to 10000"},
		"too many":       {"POST", "/v1/domains", `{"names":[` + many.String()[1:] + `]}`, 400, "10001 certificates"},
		"whole ones":     {"POST", "/v1/domains/remove", `{"certificates":[{"names":["a.test"]}]}`, 400, "names"},
		"empty":          {"POST", "/v1/domains", "", 400, "EOF"},
		"no JSON":        {"POST", "/v1/domains", "a.test", 400, "invalid character"},
		"a list":         {"POST", "/v1/domains", `["a.test"]`, 400, "cannot unmarshal"},
		"a number":       {"POST", "/v1/domains", `{"names":[1]}`, 400, "cannot unmarshal"},
		"unknown":        {"POST", "/v1/domains", `{"name":"a.test"}`, 400, "unknown field"},
		"unknown deeper": {"POST", "/v1/domains", `{"certificates":[{"name":"a.test"}]}`, 400, "unknown field"},
		"two":            {"POST", "/v1/domains", `{"names":["a.test"]}{}`, 400, "follows"},
		"too long":       {"POST", "/v1/domains", `{"names":["` + strings.Repeat("x", 8<<20) + `"]}`, 413, "too large"},
		"other method":   {"DELETE", "/v1/domains", "", 405, ""},
		"other verb":     {"POST", "/v1/domains/end", `{"names":["a.test"]}`, 405, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := askDesk(t, socket, tt.method, tt.path, tt.body)
			body := strings.ReplaceAll(r.body, `"Match: `, "")
			if r.StatusCode != tt.code || !strings.Contains(body, tt.want) {
				t.Errorf("%s %s = %d %.200q, want %d with %q", tt.method, tt.path, r.StatusCode, r.body, tt.code, tt.want)
			}
			if tt.code == http.StatusBadRequest && !strings.HasPrefix(r.body, `{"error":`) {
				t.Errorf("%s %s = %.200q, want an error in it", tt.method, tt.path, r.body)
			}
		})
	}
}

func TestDomainsErrorsHaveTheirStatus(t *testing.T) {
	tests := map[string]struct {
		err   error
		code  int
		later bool
	}{
		"unusable":     {fmt.Errorf("show: %w", status.ErrBadDomains), 400, false},
		"unknown":      {fmt.Errorf("show: %w", status.ErrNoDomain), 404, false},
		"no CA":        {fmt.Errorf("show: %w", status.ErrNoCA), 501, false},
		"anything":     {errors.New("consul is away"), 503, true},
		"out of time":  {context.DeadlineExceeded, 503, true},
		"client's end": {context.Canceled, 503, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			serve(t, socket, &node{desk: desk{tt.err}})
			for _, path := range []string{"/v1/domains", "/v1/domains/a.test"} {
				r := askDesk(t, socket, "GET", path, "")
				if r.StatusCode != tt.code || !strings.Contains(r.body, tt.err.Error()) || (r.Header.Get("Retry-After") != "") != tt.later {
					t.Errorf("GET %s = %d %s %s, want %d", path, r.StatusCode, r.body, r.Header, tt.code)
				}
			}
			r := askDesk(t, socket, "POST", "/v1/domains", `{"names":["a.test"]}`)
			if r.StatusCode != tt.code || !strings.HasPrefix(r.body, `{"error":`) {
				t.Errorf("POST = %d %s, want %d and nothing but the error", r.StatusCode, r.body, tt.code)
			}
		})
	}
}

// TestHandingOverEventsIsNoRightToDomains asks as users of several groups: the
// group of the agent's socket hands over events and has nothing to do with what is
// obtained, and that of the other socket has nothing to do with events.
func TestHandingOverEventsIsNoRightToDomains(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	const events, programs, nobody = 33, 34, 65534
	agent, domains := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "d")
	n := &node{taken: make(chan []fleet.Event, 100)}
	serveGroup(t, agent, groupName(t, events), n)
	serveDomains(t, domains, groupName(t, programs))
	open(t, agent)
	open(t, domains)
	const names = `{"names":["a.test"]}`
	handOver := [3]string{"POST", "/v1/events", `[{"ID":"a","Name":"b","LTime":3}]`}
	list, show := [3]string{"GET", "/v1/domains", ""}, [3]string{"GET", "/v1/domains/a.test", ""}
	add, retry := [3]string{"POST", "/v1/domains", names}, [3]string{"POST", "/v1/domains/retry", names}
	renew, remove := [3]string{"POST", "/v1/domains/renew", names}, [3]string{"POST", "/v1/domains/remove", names}
	asked := [][3]string{handOver, list, show, add, retry, renew, remove}
	tests := map[string]struct {
		socket   string
		uid, gid uint32
		more     []uint32
		may      [][3]string
		refusal  string
	}{
		"root, the agent's socket":             {agent, 0, 0, nil, asked, ""},
		"events, the agent's socket":           {agent, nobody, events, nil, [][3]string{handOver}, "acme.domains_socket"},
		"events as second, the agent's socket": {agent, nobody, nobody, []uint32{events}, [][3]string{handOver}, "acme.domains_socket"},
		"both, the agent's socket":             {agent, nobody, events, []uint32{programs}, [][3]string{handOver}, "acme.domains_socket"},
		"programs, the agent's socket":         {agent, nobody, programs, nil, nil, "permission denied"},
		"root, the domains' socket":            {domains, 0, 0, nil, asked[1:], "404"},
		"programs, the domains' socket":        {domains, nobody, programs, nil, asked[1:], "404"},
		"programs as second":                   {domains, nobody, nobody, []uint32{programs}, asked[1:], "404"},
		"events, the domains' socket":          {domains, nobody, events, nil, nil, "permission denied"},
		"nobody, the domains' socket":          {domains, nobody, nobody, nil, nil, "permission denied"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, a := range asked {
				out, err := askAs(t, tt.socket, a[0], a[1], a[2], &syscall.Credential{Uid: tt.uid, Gid: tt.gid, Groups: tt.more})
				may := slices.Contains(tt.may, a)
				if (err == nil) != may || !may && !strings.Contains(string(out), tt.refusal) {
					t.Errorf("%s %s as %d:%d %v = %s, %v, want allowed %t, or %q", a[0], a[1], tt.uid, tt.gid, tt.more, out, err, may, tt.refusal)
				}
			}
		})
	}
}

// groupName is the name of a group of this host.
func groupName(t *testing.T, gid int) string {
	t.Helper()
	g, err := user.LookupGroupId(strconv.Itoa(gid))
	if err != nil {
		t.Fatal(err)
	}
	return g.Name
}

// serveDomains answers at the socket for domains until the test ends.
func serveDomains(t *testing.T, path, group string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- status.ServeDomains(ctx, path, group, desk{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ServeDomains() = %v, want nil when the context ends", err)
		}
	})
	testkit.Eventually(t, 50*time.Second, "the socket to answer", func() error {
		_, err := ask(t, path, http.MethodGet, "/", nil)
		return err
	})
}

// slowDesk answers once it may.
type slowDesk struct {
	desk
	begun, let chan struct{}
}

func (d slowDesk) ShowDomain(ctx context.Context, name string) (any, error) {
	d.begun <- struct{}{}
	select {
	case <-d.let:
		return name, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestFewDomainRequestsWorkAtATime: the others wait, and are answered.
func TestFewDomainRequestsWorkAtATime(t *testing.T) {
	const clients = 9
	d := slowDesk{begun: make(chan struct{}, clients), let: make(chan struct{})}
	socket := filepath.Join(t.TempDir(), "s")
	serveDesk(t, socket, d)
	answered := make(chan int, clients)
	for range clients {
		go func() {
			r, err := askWith(t, socket, "GET", "/v1/domains/a.test", nil, strings.NewReader(""))
			if err != nil {
				t.Error(err)
				answered <- 0
				return
			}
			answered <- r.StatusCode
		}()
	}
	for range 4 {
		<-d.begun
	}
	// The socket goes on with what else it is for.
	if _, err := status.NewClient(socket).Report(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(d.begun); n != 0 {
		t.Errorf("%d more are worked on, want 4 at a time", n)
	}
	close(d.let)
	for range clients {
		testkit.Eventually(t, 50*time.Second, "an answer", func() error {
			select {
			case code := <-answered:
				if code != 200 {
					t.Errorf("status = %d, want 200", code)
				}
				return nil
			default:
				return errors.New("none yet")
			}
		})
	}
}

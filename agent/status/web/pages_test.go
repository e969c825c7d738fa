package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// stage is a fleet that a test sets up.
type stage struct {
	fleet atomic.Pointer[Fleet]
	err   atomic.Pointer[error]
	reads atomic.Int64
	block chan struct{} // nil: names are found, and the fleet is read, at once
}

func newStage() *stage {
	s := &stage{}
	s.fleet.Store(&Fleet{Fleet: "edge", Leader: "a", Nodes: []Node{{Name: "a", Alive: true}}, Ring: Ring{Epoch: 1, Serving: 1}})
	return s
}

func (s *stage) fail(err error) { s.err.Store(&err) }

func (s *stage) Fleet(context.Context) (Fleet, error) {
	s.reads.Add(1)
	if s.block != nil {
		<-s.block
	}
	if err := s.err.Load(); err != nil {
		return Fleet{}, *err
	}
	return *s.fleet.Load(), nil
}

func (s *stage) Backlog(context.Context) (Backlog, error) {
	list := []Waiting{{Names: []string{"a.test"}, State: issuance.Parked, Reason: hostile}, {Names: []string{"b.test"}, State: issuance.Waiting}}
	return Backlog{States: map[issuance.State]int{issuance.Parked: 1, issuance.Waiting: 1}, Waiting: list}, nil
}

func (s *stage) Names(q NameQuery) NamePage {
	if s.block != nil {
		<-s.block
	}
	return NamePage{Names: []Name{{Name: fmt.Sprintf("%+v", q)}}}
}

func (s *stage) Ends(now time.Time, span time.Duration, spans int) Ends {
	return Ends{From: now, Span: int(span.Seconds()), Count: make([]int, spans)}
}

const hostile = `<script>alert("x")</script>`

func ask(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

func TestPagesAnswer(t *testing.T) {
	p := New(newStage())
	tests := map[string]struct {
		path, kind string
		code       int
		want       string
	}{
		"page":             {"/", "text/html; charset=utf-8", 200, "<!doctype html>"},
		"script":           {"/assets/app.js", "text/javascript; charset=utf-8", 200, "textContent"},
		"style":            {"/assets/app.css", "text/css; charset=utf-8", 200, "prefers-color-scheme"},
		"icon":             {"/assets/icon.svg", "image/svg+xml", 200, "<svg"},
		"other file":       {"/assets/pages.go", "application/json", 404, "no such page"},
		"above":            {"/assets/..%2fpages.go", "application/json", 404, "no such page"},
		"other path":       {"/index.html", "text/plain; charset=utf-8", 404, "not found"},
		"fleet":            {"/v1/fleet", "application/json", 200, `"fleet":"edge"`},
		"names":            {"/v1/names?match=+Shop+&at=start&after=B.test&limit=500", "application/json", 200, "{Match:shop Prefix:true After:b.test Limit:500}"},
		"names by default": {"/v1/names", "application/json", 200, "{Match: Prefix:false After: Limit:50}"},
		"hostile match":    {"/v1/names?match=%3Cscript%3E", "application/json", 200, `\u003cscript\u003e`},
		"no limit":         {"/v1/names?limit=501", "application/json", 400, "want 1 to 500"},
		"long match":       {"/v1/names?match=" + strings.Repeat("a", 254), "application/json", 400, "want 253 at most"},
		"8 KB":             {"/v1/names?match=" + strings.Repeat("a", 8<<10), "application/json", 400, "want 253 at most"},
		"8 KB parameter":   {"/v1/names?" + strings.Repeat("a", 8<<10) + "=1", "application/json", 400, "not known"},
		"twice":            {"/v1/names?match=a&match=b", "application/json", 400, "twice"},
		"mistyped":         {"/v1/names?mtch=a", "application/json", 400, "not known"},
		"no query":         {"/v1/names?%zz", "application/json", 400, "invalid URL escape"},
		"other place":      {"/v1/names?at=end", "application/json", 400, "one of part, start"},
		"by week":          {"/v1/expiry?unit=week&count=2", "application/json", 200, `"span_s":604800,"ended":0,"count":[0,0]`},
		"by year":          {"/v1/expiry?unit=year", "application/json", 400, "one of day, week"},
		"too many days":    {"/v1/expiry?count=401", "application/json", 400, "want 1 to 400"},
		"waiting":          {"/v1/waiting", "application/json", 200, `"matching":2`},
		"hostile reason":   {"/v1/waiting?state=parked", "application/json", 200, `\u003cscript\u003e`},
		"parked":           {"/v1/waiting?state=parked&match=A.t", "application/json", 200, `"matching":1`},
		"other state":      {"/v1/waiting?state=issued", "application/json", 400, "state"},
		"second page":      {"/v1/waiting?offset=1&limit=1", "application/json", 200, `"waiting":[{"names":["b.test"]`},
		"behind the last":  {"/v1/waiting?offset=7", "application/json", 200, `"waiting":[]`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := ask(t, p, tt.path)
			if kind := w.Header().Get("Content-Type"); w.Code != tt.code || kind != tt.kind || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("GET %.60s = %d %s %.300q, want %d %s with %q", tt.path, w.Code, kind, w.Body, tt.code, tt.kind, tt.want)
			}
		})
	}
}

func TestPageMayLoadOnlyItself(t *testing.T) {
	csp := ask(t, New(newStage()), "/").Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("Content-Security-Policy = %q, want %q in it", csp, want)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
		t.Errorf("Content-Security-Policy = %q, want nothing from elsewhere or inline", csp)
	}
	for _, name := range []string{"index.html", "app.js", "app.css"} {
		text, err := assets.ReadFile("assets/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://", "@import", "<style", " style=", "onclick"} {
			if strings.Contains(string(text), bad) {
				t.Errorf("%s has %q", name, bad)
			}
		}
	}
}

func TestManyViewersCostOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		s.block = make(chan struct{})
		p := New(s)
		for range 100 {
			go p.look(t.Context())
		}
		synctest.Wait() // all of them, while the first read is under way
		close(s.block)
		p.look(t.Context())
		if got := s.reads.Load(); got != 1 {
			t.Errorf("%d reads for 101 viewers, want 1", got)
		}
		<-time.After(fleetAge)
		p.look(t.Context())
		if got := s.reads.Load(); got != 2 {
			t.Errorf("%d reads after %s, want 2", got, fleetAge)
		}
	})
}

// TestPageHasTheFleetReadAtOnce has the page come while the fleet is read for it.
func TestPageHasTheFleetReadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		s.block = make(chan struct{})
		p := New(s)
		if w := ask(t, p, "/"); w.Code != http.StatusOK {
			t.Errorf("GET / = %d while the fleet is read, want 200", w.Code)
		}
		synctest.Wait()
		if got := s.reads.Load(); got != 1 {
			t.Errorf("%d reads for the page, want 1", got)
		}
		close(s.block)
		p.look(t.Context())
		if got := s.reads.Load(); got != 1 {
			t.Errorf("%d reads for the page and its fleet, want 1", got)
		}
	})
}

func TestOldFleetIsShownWithTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		p := New(s)
		p.look(t.Context())
		s.fail(errors.New("consul is away"))
		<-time.After(fleetAge)
		if f := p.look(t.Context()); f.Fleet != "edge" || f.Error != "consul is away" {
			t.Errorf("look() = %+v, want the fleet of before with the reason", f)
		}
	})
}

// TestSearchesTakeTurns has more of them than are made at a time.
func TestSearchesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		s.block = make(chan struct{})
		p := New(s)
		codes := make(chan int, searches+1)
		for range searches + 1 {
			go func() { codes <- ask(t, p, "/v1/names").Code }()
		}
		if code := <-codes; code != http.StatusServiceUnavailable {
			t.Errorf("GET = %d while %d are made, want 503", code, searches)
		}
		close(s.block)
		for range searches {
			if code := <-codes; code != http.StatusOK {
				t.Errorf("GET = %d, want 200", code)
			}
		}
	})
}

func TestNewsTellWhatChanged(t *testing.T) {
	at := time.Unix(1800000000, 0)
	base := func() Fleet {
		return Fleet{Leader: "a", Inventory: 4, Ring: Ring{Epoch: 1, Proved: 1, Serving: 2}, Nodes: []Node{
			{Name: "a", Alive: true, Proved: true, Inventory: 4, Problems: []fleet.Problem{{Code: "swap"}}}, {Name: "b", Alive: true},
		}}
	}
	tests := map[string]struct {
		change func(*Fleet)
		want   []string
	}{
		"nothing":    {func(*Fleet) {}, nil},
		"ring":       {func(f *Fleet) { f.Ring.Epoch = 2 }, []string{"ring   ring of epoch 2"}},
		"proof":      {func(f *Fleet) { f.Ring.Proved = 2 }, []string{"ring   epoch 1 is proved by 2 of 2"}},
		"leader":     {func(f *Fleet) { f.Leader = "" }, []string{"leader   nobody leads"}},
		"inventory":  {func(f *Fleet) { f.Inventory = 5 }, []string{"certificates   inventory of epoch 5"}},
		"follower":   {func(f *Fleet) { f.Nodes[0].Inventory = 5 }, []string{"certificates  a follows inventory 5"}},
		"reload":     {func(f *Fleet) { f.Nodes[1].Reload = fleet.Reload{At: at, Result: fleet.ReloadOK, Release: 3} }, []string{"reload  b release 3: ok"}},
		"bad reload": {func(f *Fleet) { f.Nodes[1].Reload = fleet.Reload{At: at, Result: fleet.ReloadRejected, Err: hostile} }, []string{"reload warning b release 0: rejected"}},
		"problem": {func(f *Fleet) {
			f.Nodes[1].Problems = []fleet.Problem{{Code: "x", Severity: fleet.Alarm, Message: "y"}}
		}, []string{"problem alarm b x: y"}},
		"solved":  {func(f *Fleet) { f.Nodes[0].Problems = nil }, []string{"solved  a swap"}},
		"silence": {func(f *Fleet) { f.Nodes[0] = Node{Name: "a"} }, []string{"node warning a reports no more"}},
		"gone":    {func(f *Fleet) { f.Nodes = f.Nodes[:1] }, []string{"node  b left"}},
		"come":    {func(f *Fleet) { f.Nodes = append(f.Nodes, Node{Name: "c"}) }, []string{"node  c joined"}},
		"drained": {func(f *Fleet) { f.Nodes[1].Drained = true }, []string{"node  b in maintenance"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			now := base()
			tt.change(&now)
			got := news(base(), now)
			if len(got) != len(tt.want) {
				t.Fatalf("news() = %+v, want %q", got, tt.want)
			}
			for i, e := range got {
				if line := fmt.Sprintf("%s %s %s %s", e.Kind, e.Severity, e.Node, e.Text); !strings.HasPrefix(line, tt.want[i]) {
					t.Errorf("news() tells %q, want %q", line, tt.want[i])
				}
			}
		})
	}
}

// listen opens a stream at a real server.
func listen(t *testing.T, url string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	})
	return resp
}

// TestStreamTellsFromTheFirstMomentOn what changes before the first tick.
func TestStreamTellsFromTheFirstMomentOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		p := New(s)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		p.look(ctx) // the page
		_, ch := p.streams.join()
		synctest.Wait()
		f := *s.fleet.Load()
		f.Ring.Epoch++
		s.fleet.Store(&f)
		for _, want := range []string{kindLook, kindRing} {
			select {
			case e := <-ch:
				if e.Kind != want {
					t.Errorf("event = %+v, want %s", e, want)
				}
			case <-time.After(time.Minute):
				t.Errorf("no event in a minute, want %s", want)
			}
		}
		p.streams.leave(ch)
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil when the context ends", err)
		}
	})
}

func TestStreamTellsWhatChanges(t *testing.T) {
	s := newStage()
	p := New(s)
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	lines := bufio.NewScanner(listen(t, srv.URL).Body) //nolint:bodyclose // listen closes it
	next := func() (e Event) {
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(text), &e); err != nil {
					t.Fatal(err)
				}
				return e
			}
		}
		return e
	}
	if e := next(); e.Kind != kindLook {
		t.Fatalf("first event = %+v, want %s", e, kindLook)
	}
	f := *s.fleet.Load()
	f.Nodes = []Node{{Name: "a", Alive: true, Problems: []fleet.Problem{{Code: "x", Severity: fleet.Alarm, Message: hostile + "\n\ndata: forged"}}}}
	s.fleet.Store(&f)
	if e := next(); e.Kind != kindProblem || e.Node != "a" || !strings.HasSuffix(e.Text, "data: forged") {
		t.Errorf("event = %+v, want the problem of a as one event", e)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v, want nil when the context ends", err)
	}
	if e := next(); e.ID != "" {
		t.Errorf("event after the end = %+v, want none", e)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	p := New(newStage())
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	t.Cleanup(p.streams.end)
	for range maxStreams {
		if resp := listen(t, srv.URL); resp.StatusCode != http.StatusOK { //nolint:bodyclose // listen closes it
			t.Fatalf("GET /v1/stream = %d, want 200", resp.StatusCode)
		}
	}
	for range 1000 - maxStreams {
		if resp := listen(t, srv.URL); resp.StatusCode != http.StatusServiceUnavailable || !resp.Close { //nolint:bodyclose // listen closes it
			t.Fatalf("GET /v1/stream = %d beside %d others, want 503 and the end of the connection", resp.StatusCode, maxStreams)
		}
	}
	if w := ask(t, p, "/v1/fleet"); w.Code != http.StatusOK {
		t.Errorf("GET /v1/fleet = %d beside full streams, want 200", w.Code)
	}
}

func TestStreamDropsWhoLags(t *testing.T) {
	s := newStreams()
	_, slow := s.join()
	_, quick := s.join()
	for range streamQueue + 1 {
		s.tell(Event{Kind: kindRing})
		<-quick
	}
	if got := s.count(); got != 1 {
		t.Errorf("%d streams are open, want 1: the other lags", got)
	}
	n := 0
	for range slow {
		n++
	}
	if n != streamQueue {
		t.Errorf("the slow one got %d events before its end, want %d", n, streamQueue)
	}
}

// TestStreamLeavesWhoDoesNotRead has a client whose end of the connection is full.
func TestStreamLeavesWhoDoesNotRead(t *testing.T) {
	t.Parallel()
	p := New(newStage())
	ended := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := io.WriteString(conn, "GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	e := Event{Kind: kindProblem, Text: strings.Repeat("x", 1<<20)}
	testkit.Eventually(t, time.Minute, "the stream to end", func() error {
		p.streams.tell(e)
		select {
		case <-ended:
			return nil
		default:
			return fmt.Errorf("%d are open", p.streams.count())
		}
	})
}

func TestStreamLeavesWhoHasGone(t *testing.T) {
	p := New(newStage())
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/v1/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	testkit.Eventually(t, 50*time.Second, "the stream to end", func() error {
		if n := p.streams.count(); n != 0 {
			return fmt.Errorf("%d are open", n)
		}
		return nil
	})
}

func TestPastEventsAreToldOnce(t *testing.T) {
	s := newStreams()
	for range streamPast + 10 {
		s.tell(Event{Kind: kindRing})
	}
	s.tell(Event{Kind: kindLook})
	past, _ := s.join()
	if len(past) != streamPast || past[0].ID == past[1].ID || past[streamPast-1].Kind != kindRing {
		t.Errorf("join() = %d events up to %+v, want the last %d", len(past), past[len(past)-1], streamPast)
	}
}

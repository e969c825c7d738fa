package status

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	pages "github.com/tlsfleet/tlsfleet/agent/status/web"
)

// quiet is a fleet in which nothing happens.
type quiet struct{}

func (quiet) Fleet(context.Context) (pages.Fleet, error)           { return pages.Fleet{Fleet: "edge"}, nil }
func (quiet) Backlog(context.Context) (pages.Backlog, error)       { return pages.Backlog{}, nil }
func (quiet) Names(pages.NameQuery) pages.NamePage                 { return pages.NamePage{} }
func (quiet) Ends(time.Time, time.Duration, int) (none pages.Ends) { return none }

// dashboard is the address of one, until the test ends.
func dashboard(t *testing.T) string {
	t.Helper()
	p := pages.New(quiet{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v, want nil when the context ends", err)
		}
	})
	return webWith(t, HTTPConfig{}, fleet.Report{}, p)
}

// openStream asks for the stream on a connection of its own.
func openStream(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn := dial(t, addr)
	if _, err := io.WriteString(conn, "GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// memory is what the program uses now, in bytes.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestIdleStreamsLeaveRoomForOthers has 1,000 clients ask for the stream at once
// and do nothing any more, four times as many as are connected at a time.
func TestIdleStreamsLeaveRoomForOthers(t *testing.T) {
	const clients, served = 1000, 64
	addr := dashboard(t)
	beside := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	look := func(when string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/v1/fleet", nil)
		if err != nil {
			t.Fatal(err)
		}
		if code, body := ask(t, beside, r); code != http.StatusOK || !strings.Contains(body, `"fleet":"edge"`) {
			t.Fatalf("GET /v1/fleet %s = %d %.200s, want the fleet", when, code, body)
		}
	}
	look("before")
	before := memory()
	var conns []net.Conn
	for i := range clients {
		conns = append(conns, openStream(t, addr))
		if i%100 == 99 {
			look("while clients come")
		}
	}
	open := 0
	for _, conn := range conns {
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReaderSize(conn, 512)
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("answer to GET /v1/stream: %v", err)
		}
		if strings.HasPrefix(line, "HTTP/1.1 200 ") {
			open++
			continue
		}
		rest, err := io.ReadAll(r)
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 503 ") || !strings.Contains(string(rest), "streams are open already") {
			t.Fatalf("GET /v1/stream = %q %.300q, %v, want 200, or 503 and the end of the connection", line, rest, err)
		}
	}
	if open != served {
		t.Errorf("%d of %d streams are open, want %d", open, clients, served)
	}
	look("beside the streams")
	if after := memory(); after > before+16<<20 {
		t.Errorf("%d clients take %d bytes, want 16 MiB at most", clients, after-before)
	}
}

// TestStreamOutlivesTheTimeOfAnAnswer reads until the stream's own sign of life,
// which comes after the time that any other answer may take.
func TestStreamOutlivesTheTimeOfAnAnswer(t *testing.T) {
	t.Parallel()
	lines := bufio.NewReader(openStream(t, dashboard(t)))
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ended: %v, want a sign of life", err)
		}
		if line == ": alive\n" {
			return
		}
	}
}

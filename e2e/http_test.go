package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// withHTTP gives each node an HTTP address of its own.
func withHTTP(t *testing.T, addrs map[int]string) func(i int) Settings {
	return func(i int) Settings {
		addrs[i] = net.JoinHostPort("127.0.0.1", strconv.Itoa(testkit.FreePort(t, "127.0.0.1")))
		return Settings{"http.address": addrs[i]}
	}
}

// get is the answer at a path of an HTTP address.
func get(t *testing.T, addr, path string) (code int, body string, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(resp.Body)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	return resp.StatusCode, string(text), err
}

// sample is the value of one metric in a scrape.
func sample(text, metric string) (float64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, metric+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("the scrape has no %s", metric)
}

func wantSample(text, metric string, want float64) error {
	got, err := sample(text, metric)
	if err == nil && got != want {
		err = fmt.Errorf("%s = %v, want %v", metric, got, want)
	}
	return err
}

func TestMetricsFollowARotation(t *testing.T) {
	addrs := map[int]string{}
	f := NewFleet(t, FleetOptions{Node: withHTTP(t, addrs)})
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	testkit.Eventually(t, settle, "the rotation in the metrics", func() error {
		leaders := 0.0
		for _, addr := range addrs {
			_, text, err := get(t, addr, "/metrics")
			if err != nil {
				return err
			}
			for metric, want := range map[string]float64{
				"tlsfleet_ring_seen_epoch": 2, "tlsfleet_ring_applied_epoch": 2, "tlsfleet_ring_proved_epoch": 2,
				`tlsfleet_ring_keys{role="previous"}`: 1, `tlsfleet_reloads_total{result="ok"}`: 2, `tlsfleet_reloads_total{result="failed"}`: 0,
			} {
				if err := wantSample(text, metric, want); err != nil {
					return err
				}
			}
			leads, err := sample(text, "tlsfleet_leader")
			if err != nil {
				return err
			}
			leaders += leads
			if leads == 0 {
				continue
			}
			if err := wantSample(text, `tlsfleet_nodes{state="proved"}`, 3); err != nil {
				return err
			}
		}
		if leaders != 1 {
			return fmt.Errorf("%v nodes say that they lead, want 1", leaders)
		}
		return nil
	})
	if code, body, err := get(t, addrs[1], "/readyz"); code != http.StatusOK {
		t.Errorf("GET /readyz = %d %s %v, want 200", code, body, err)
	}
	f.Nodes[1].Nginx.Stop(t)
	testkit.Eventually(t, settle, "a node without nginx to be unready", func() error {
		code, body, err := get(t, addrs[1], "/readyz")
		if err == nil && code != http.StatusServiceUnavailable {
			err = fmt.Errorf("GET /readyz = %d %s, want 503", code, body)
		}
		return err
	})
	if code, _, err := get(t, addrs[1], "/healthz"); code != http.StatusOK {
		t.Errorf("GET /healthz = %d, %v beside a stopped nginx, want 200", code, err)
	}
}

// TestTakenHTTPAddressStopsNothing has another program on the port, which ends.
func TestTakenHTTPAddressStopsNothing(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	f := NewFleet(t, FleetOptions{Nodes: 1, Settings: Settings{"http.address": addr}})
	testkit.Eventually(t, settle, "status to tell that the HTTP address is taken", func() error {
		if out := f.CLI(t, "status"); !strings.Contains(out.Stdout, "address already in use") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, settle, "the address once it is free", func() error {
		code, body, err := get(t, addr, "/readyz")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("GET /readyz = %d %s", code, body)
		}
		return err
	})
}

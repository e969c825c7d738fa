package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// mute listens and says nothing; asked is closed when the first one has come.
func mute(t *testing.T) (addr string, asked <-chan struct{}) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came, done := make(chan struct{}), make(chan []net.Conn)
	go func() {
		var conns []net.Conn
		var first sync.Once
		for {
			c, err := l.Accept()
			if err != nil {
				done <- conns
				return
			}
			conns = append(conns, c)
			first.Do(func() { close(came) })
		}
	}()
	t.Cleanup(func() {
		err := l.Close()
		for _, c := range <-done {
			err = errors.Join(err, c.Close())
		}
		if err != nil {
			t.Log(err)
		}
	})
	return l.Addr().String(), came
}

// muteArchives are an archive of each kind that is a server and says nothing, and
// what tells that they were asked.
func muteArchives(t *testing.T) (s Settings, asked []<-chan struct{}) {
	t.Helper()
	bucket, first := mute(t)
	database, second := mute(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"key": "a-key-of-a-bucket", "dsn": "postgres://tlsfleet@" + database + "/tlsfleet"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Settings{
		`archive "bucket".endpoint`: bucket, `archive "bucket".bucket`: "copies", `archive "bucket".region`: "us-east-1", `archive "bucket".insecure`: true,
		`archive "bucket".access_key_file`: filepath.Join(dir, "key"), `archive "bucket".secret_key_file`: filepath.Join(dir, "key"),
		`archive "database".dsn_file`: filepath.Join(dir, "dsn"),
	}, []<-chan struct{}{first, second}
}

// TestSIGTERMOfABusyLeader has everything that a leader talks to keep it waiting:
// a CA that holds back the answer to an order, archives, and somebody who follows
// the fleet by HTTP.
func TestSIGTERMOfABusyLeader(t *testing.T) {
	t.Parallel()
	addrs := map[int]string{}
	a := newACMEFleet(t, FleetOptions{Nodes: 1, Node: withHTTP(t, addrs)})
	n := a.Nodes[0]
	n.Agent.Stop(t)
	ca, directory := a.pebble.Proxy(t)
	ca.Set(testkit.Rule{Method: http.MethodPost, Path: "/order-plz", Fault: testkit.Hang})
	archives, asked := muteArchives(t)
	maps.Copy(n.Settings, with(archives, Settings{`ca "pebble".directory`: directory}))
	n.WriteConfig(t)
	n.StartAgent(t)
	a.Leader(t)
	a.leadTo(t, n, "hung.test")
	a.Add(t, "hung.test")
	for _, came := range asked {
		select {
		case <-came:
		case <-time.After(settle):
			t.Fatal("an archive was not asked")
		}
	}
	testkit.Eventually(t, settle, "an order at the CA", func() error {
		if ca.Seen(http.MethodPost, "/order-plz") == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	follow(t, addrs[0])

	code, took := n.Agent.Stop(t)
	if code != 0 || took > stopWithin {
		t.Errorf("agent ended with %d after %s, want 0 within %s", code, took, stopWithin)
	}
	if _, err := os.Stat(filepath.Join(n.RunDir, "agent.sock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("socket: %v, want it gone", err)
	}
	if left, _, err := a.Consul.Client(t).Session().List(nil); err != nil || len(left) > 0 {
		t.Errorf("sessions in Consul = %d, %v, want none", len(left), err)
	}
}

// follow opens the stream of a dashboard, which stays open until the test ends.
func follow(t *testing.T, addr string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/v1/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, settle, "the stream", func() error {
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		line, err := bufio.NewReader(resp.Body).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "retry:") {
			return errors.Join(err, resp.Body.Close(), fmt.Errorf("it says %q", line))
		}
		t.Cleanup(func() {
			if err := resp.Body.Close(); err != nil {
				t.Log(err)
			}
		})
		return nil
	})
}

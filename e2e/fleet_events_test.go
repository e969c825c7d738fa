package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// fire fires an event by Consul's API.
func (f *Fleet) fire(t *testing.T, name string, payload []byte) {
	t.Helper()
	if _, _, err := f.Consul.Client(t).Event().Fire(&api.UserEvent{Name: name, Payload: payload}, nil); err != nil {
		t.Fatalf("fire %s: %v", name, err)
	}
}

// Shell runs a line as an operator types it, with the consul binary in PATH.
func (f *Fleet) Shell(t *testing.T, line string) Result {
	t.Helper()
	dir := filepath.Dir(testkit.ConsulBinary(t))
	return runToEnd(t, append([]string{"PATH=" + dir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, f.env...), "", "/bin/sh", "-c", line)
}

// WatchByConsul runs a real `consul watch` for one event name with
// `tlsfleet handle-event` of this node as its handler.
func (n *Node) WatchByConsul(t *testing.T, event string) *Child {
	t.Helper()
	return startChild(t, "consul watch for "+n.Name, filepath.Join(n.Nginx.Dir, "watch.log"), n.fleet.env,
		testkit.ConsulBinary(t), "watch", "-type=event", "-name="+event,
		binary(t), "handle-event", "--socket", filepath.Join(n.RunDir, "agent.sock"))
}

// WantSettled waits until the fleet has acted on everything it knows, and
// fails the test if the ring is not at this epoch then. An event of its own
// tells: it is acted on after those before it, and once.
func (f *Fleet) WantSettled(t *testing.T, epoch uint64) {
	t.Helper()
	f.AwaitProved(t, epoch)
	if got := f.Ring(t).Epoch; got != epoch {
		t.Errorf("ring epoch = %d, want %d", got, epoch)
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	if got := f.Ring(t).Epoch; got != epoch+1 {
		t.Errorf("ring epoch after one rotation by hand = %d, want %d", got, epoch+1)
	}
}

// AwaitNoted waits until the agents of the nodes have noted so many events in
// all since they were first started.
func AwaitNoted(t *testing.T, count int, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		testkit.Eventually(t, settle, fmt.Sprintf("%d events noted by %s", count, n.Name), func() error {
			if got := strings.Count(n.Agent.Log(), "event noted"); got < count {
				return fmt.Errorf("%d noted", got)
			}
			return nil
		})
	}
}

var errNoLeader = errors.New("nobody leads")

// idle is nil if the leader's last decision was that there is nothing to do.
func (n *Node) idle() error {
	log := n.Agent.Log()
	at := strings.LastIndex(log, "leader decided")
	line, _, _ := strings.Cut(log[max(0, at):], "\n")
	if at < 0 || !strings.Contains(line, `do=nothing cause=""`) || strings.Contains(log[at:], "ring changed") {
		return fmt.Errorf("%s last decided: %s", n.Name, line)
	}
	return nil
}

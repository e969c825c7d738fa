package e2e

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// AwaitReload waits until the node's last reload ended like this, with these
// epochs applied and proved.
func (n *Node) AwaitReload(t *testing.T, want fleet.ReloadResult, applied, proved uint64) {
	t.Helper()
	n.AwaitReport(t, "reload "+string(want), func(r fleet.Report) error {
		if r.Reload.Result != want || r.Applied != applied || r.Proved != proved {
			return fmt.Errorf("applied %d, proved %d by reload %+v, want %d and %d", r.Applied, r.Proved, r.Reload, applied, proved)
		}
		return nil
	})
}

// wantHeldRotation fails the test unless a rotation is refused with these
// words.
func wantHeldRotation(t *testing.T, f *Fleet, words ...string) {
	t.Helper()
	r := f.CLI(t, "rotate-ticket").Want(t, 1)
	for _, w := range words {
		if !strings.Contains(r.Stderr, w) {
			t.Errorf("rotate-ticket says %q, want %q in it", r.Stderr, w)
		}
	}
}

func TestBrokenNginxConfigurationKeepsTheOldRing(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 2, nil))
	n := f.Nodes[1]
	before := n.Held(t)
	n.EditNginx(t, "http {", "http {\nnonsense_of_the_operator on;")
	f.CLI(t, "rotate-ticket").Want(t, 0)
	n.AwaitReload(t, fleet.ReloadRejected, 1, 1)
	n.WantSeals(t, "rejected", before.seals)
	WantProblem(t, n.AwaitProblem(t, "release-rejected"), fleet.Alarm, "nonsense_of_the_operator")
	s := f.Await(t, "the other node's proof", func(s Status) error {
		if s.Epoch != 2 || s.Proved != 1 {
			return fmt.Errorf("epoch %d proved by %d", s.Epoch, s.Proved)
		}
		return nil
	})
	if why := s.Node(t, n.Name).Why; !strings.Contains(why, "nonsense_of_the_operator") {
		t.Errorf("status says of %s: %q, want nginx's words", n.Name, why)
	}
	wantHeldRotation(t, f, n.Name, "nonsense_of_the_operator")
	n.EditNginx(t, "nonsense_of_the_operator on;", "")
	f.AwaitProved(t, 2)
	n.AwaitNoProblem(t)
	n.WantSeals(t, "mended", f.sealsNow(t))
}

// TestHiddenTicketKeyIsToldAndHoldsRotations lets the operator's own
// ssl_session_ticket_key seal instead of the ring's.
func TestHiddenTicketKeyIsToldAndHoldsRotations(t *testing.T) {
	t.Parallel()
	o := onShared(t, 1, Settings{"nginx.default_servers": []string{}, "nginx.reprove_every": "1h"})
	o.Nginx = func(_ int, no *testkit.NginxOptions) { no.Server = "# keys" }
	f := NewFleet(t, o)
	n := f.Nodes[0]
	own := make([]byte, fleet.KeySize256)
	if _, err := rand.Read(own); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(f.Dir, "own.key")
	if err := os.WriteFile(file, own, 0o600); err != nil {
		t.Fatal(err)
	}
	directive := "ssl_session_ticket_key " + file + ";"
	n.EditNginx(t, "# keys", directive)
	f.CLI(t, "rotate-ticket").Want(t, 0)
	where := fmt.Sprintf("%s:%d", n.Nginx.ConfigFile, lineOf(t, n.Nginx.ConfigFile, directive))
	WantProblem(t, n.AwaitProblem(t, "ticket-key-hidden"), fleet.Alarm, where)
	n.AwaitReload(t, fleet.ReloadOK, 2, 0)
	n.WantSeals(t, "hidden", fleet.KeyName(own[:fleet.KeyNameSize]))
	wantHeldRotation(t, f, n.Name, where)
	n.EditNginx(t, directive, "")
	n.Nginx.Signal(t, syscall.SIGHUP)
	f.AwaitProved(t, 2)
	n.AwaitNoProblem(t)
}

// lineOf is the number of the first line of a file that has the text.
func lineOf(t *testing.T, file, text string) int {
	t.Helper()
	all, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(all), text)
	if !ok {
		t.Fatalf("%s has no %q", file, text)
	}
	return strings.Count(before, "\n") + 1
}

func TestNginxNotRunningIsProvedOnceItIs(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 1, nil))
	n := f.Nodes[0]
	n.Nginx.Stop(t)
	f.CLI(t, "rotate-ticket").Want(t, 0)
	n.AwaitReload(t, fleet.ReloadNotRunning, 2, 0)
	WantProblem(t, n.AwaitProblem(t, "nginx-not-running"), fleet.Warning, "not running")
	if err := n.Nginx.Test(t); err != nil {
		t.Errorf("nginx -t = %v, want nil", err)
	}
	n.Nginx.Start(t)
	n.WantSeals(t, "started", f.sealsNow(t))
	f.AwaitProved(t, 2)
	n.AwaitNoProblem(t)
}

// TestPIDFileOfAnotherProcessSignalsNobody lets the pid file name a process
// that SIGHUP would end.
func TestPIDFileOfAnotherProcessSignalsNobody(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 1, nil))
	n := f.Nodes[0]
	n.Nginx.Stop(t)
	bystander := startChild(t, "bystander", filepath.Join(f.Dir, "bystander.log"), nil, "sleep", "1000")
	if err := os.WriteFile(n.Nginx.PIDFile, fmt.Appendf(nil, "%d\n", bystander.PID), 0o600); err != nil {
		t.Fatal(err)
	}
	f.CLI(t, "rotate-ticket").Want(t, 0)
	n.AwaitReport(t, "a failed release", func(r fleet.Report) error {
		for _, p := range r.Problems {
			if p.Severity == fleet.Alarm && strings.Contains(p.Message, fmt.Sprintf("pid %d", bystander.PID)) &&
				strings.Contains(p.Message, n.Nginx.PIDFile) && strings.Contains(p.Message, "sleep") {
				return nil
			}
		}
		return fmt.Errorf("problems are %+v", r.Problems)
	})
	if err := n.Nginx.Test(t); err != nil {
		t.Errorf("nginx -t = %v, want nil", err)
	}
	n.Nginx.Start(t)
	f.AwaitProved(t, 2)
	n.AwaitNoProblem(t)
	if !bystander.Running() {
		t.Error("the process that the pid file named is dead, want it left alone")
	}
}

// TestTakenPortIsRolledBack gives nginx a listen socket that another process
// has: nginx -t and the signal succeed, the reload does not.
func TestTakenPortIsRolledBack(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 1, Settings{"nginx.verify_timeout": "3s"}))
	n := f.Nodes[0]
	before := n.SealsWith(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(n.Nginx.Address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	n.EditNginx(t, "http {", "http {\nserver { listen "+l.Addr().String()+"; }")
	f.CLI(t, "rotate-ticket").Want(t, 0)
	n.AwaitReload(t, fleet.ReloadRolledBack, 1, 1)
	n.AwaitProblem(t, "release-rolled-back")
	n.WantSeals(t, "rolled back", before)
	wantHeldRotation(t, f, n.Name)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f.AwaitProved(t, 2)
	n.AwaitNoProblem(t)
	n.WantSeals(t, "with the port free", f.sealsNow(t))
}

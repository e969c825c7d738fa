package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestFullTmpfsKeepsTheOldRing leaves no room for new keys, and then some.
func TestFullTmpfsKeepsTheOldRing(t *testing.T) {
	t.Parallel()
	small := testkit.SmallTmpfs(t, 256<<10)
	f := NewFleet(t, onShared(t, 1, Settings{"run_dir": small, "socket": filepath.Join(t.TempDir(), "agent.sock")}))
	n := f.Nodes[0]
	n.RunDir = small
	before := n.Held(t)
	filler := filepath.Join(small, "filler")
	fill(t, filler)
	f.CLI(t, "rotate-ticket").Want(t, 0)
	WantProblem(t, n.AwaitProblem(t, "release-failed"), fleet.Alarm, "no space left on device", small)
	n.WantHeld(t, "with tmpfs full", before)
	if err := n.Nginx.Test(t); err != nil {
		t.Errorf("nginx -t = %v, want nil", err)
	}
	wantHeldRotation(t, f, n.Name, "no space left on device")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	f.AwaitProved(t, 2)
	n.AwaitNoProblem(t)
	n.WantSeals(t, "with room again", f.sealsNow(t))
}

// fill writes until the file system is full.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	page := make([]byte, os.Getpagesize())
	for err == nil {
		_, err = file.Write(page)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill %s: %v, want %v", path, err, syscall.ENOSPC)
	}
}

// idle is one node on which nothing runs yet.
func idle(t *testing.T, settings Settings) *Node {
	t.Helper()
	o := onShared(t, 1, settings)
	o.Idle = true
	return NewFleet(t, o).Nodes[0]
}

// wantRefused runs the agent, which has to end with this code and say this.
func (n *Node) wantRefused(t *testing.T, code int, words ...string) {
	t.Helper()
	r := n.CLI(t, "agent").Want(t, code)
	for _, w := range words {
		if !strings.Contains(r.Stderr, w) {
			t.Errorf("agent says %q, want %q in it", r.Stderr, w)
		}
	}
}

func TestSecondAgentOnTheSameFoldersIsRefused(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, onShared(t, 1, nil))
	n := f.Nodes[0]
	n.wantRefused(t, 1, "another tlsfleet agent", n.StateDir)
	// A restart of nginx runs restore beside the agent: it must not fail.
	r := n.CLI(t, "restore").Want(t, 0)
	if !strings.Contains(r.Stderr, "another tlsfleet agent") {
		t.Errorf("restore beside an agent says %q, want that there is one", r.Stderr)
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0) // the first one is not disturbed
}

func TestKeysFolderOnADiskIsRefused(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	n := idle(t, Settings{"run_dir": disk, "socket": filepath.Join(t.TempDir(), "agent.sock")})
	var fs syscall.Statfs_t
	if err := syscall.Statfs(disk, &fs); err != nil || fs.Type == 0x01021994 { // TMPFS_MAGIC, statfs(2)
		t.Skipf("temporary files are on tmpfs here: %v", err)
	}
	n.wantRefused(t, 2, "tmpfs", disk, "allow_persistent_keys")
	if r := n.CLI(t, "restore").Want(t, 2); !strings.Contains(r.Stderr, "allow_persistent_keys") {
		t.Errorf("restore says %q, want what to do", r.Stderr)
	}
	n.Settings["allow_persistent_keys"] = true
	n.WriteConfig(t)
	n.Nginx.Start(t)
	n.StartAgent(t)
	n.fleet.AwaitProved(t, 1)
}

func TestKeyringThatCannotBeUsedIsRefused(t *testing.T) {
	t.Parallel()
	n := idle(t, nil)
	tests := map[string]struct {
		prepare func(file string) error
		words   []string
	}{
		"missing":            {func(string) error { return nil }, []string{"keyring init"}},
		"readable by others": {func(file string) error { return copyFile(n.fleet.keyring, file, 0o644) }, []string{"0600"}},
		"not a keyring":      {func(file string) error { return os.WriteFile(file, []byte("hello\n"), 0o600) }, []string{"keyring"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "keyring")
			if err := tt.prepare(file); err != nil {
				t.Fatal(err)
			}
			n.Settings["keyring_file"] = file
			n.WriteConfig(t)
			n.wantRefused(t, 2, append(tt.words, file)...)
		})
	}
}

func copyFile(from, to string, mode os.FileMode) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, text, mode); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

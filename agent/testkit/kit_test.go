package testkit

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestFleetNameIsUsableAndUnique(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"short":   "x",
		"slashes": "a/b c",
		"long":    strings.Repeat("é", 100),
	}
	for name, title := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := FleetName(titled{t, title}), FleetName(titled{t, title})
			if err := fleet.CheckName(a); err != nil {
				t.Errorf("CheckName(%q) = %v, want nil", a, err)
			}
			if a == b {
				t.Errorf("FleetName() twice = %q, want two names", a)
			}
		})
	}
}

// titled is a test under another name.
type titled struct {
	*testing.T
	name string
}

func (t titled) Name() string { return t.name }

func TestFreePortIsHandedOutOnce(t *testing.T) {
	t.Parallel()
	seen := map[int]bool{}
	for range 3 * blockSize {
		port := FreePort(t, "127.0.0.2")
		if seen[port] {
			t.Fatalf("FreePort() = %d twice", port)
		}
		seen[port] = true
	}
}

func TestFreeTellsPortsInUse(t *testing.T) {
	t.Parallel()
	port := FreePort(t, "127.0.0.2")
	if !free("127.0.0.2", port) {
		t.Errorf("free(%d) = false, want true", port)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address("127.0.0.2", port))
	if err != nil {
		t.Fatal(err)
	}
	if free("127.0.0.2", port) {
		t.Errorf("free(%d) with a listener = true, want false", port)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFreePortIsFreeWhileProcessesStart(t *testing.T) {
	t.Parallel()
	var starting errgroup.Group
	ended := make(chan struct{})
	for range 4 {
		starting.Go(func() error {
			for {
				select {
				case <-ended:
					return nil
				default:
				}
				if err := exec.CommandContext(t.Context(), "/bin/true").Run(); err != nil {
					return err
				}
			}
		})
	}
	port := FreePort(t, "127.0.0.3")
	for range 2000 {
		if !free("127.0.0.3", port) {
			t.Errorf("free(%d) = false a moment after it was true", port)
			break
		}
	}
	close(ended)
	if err := starting.Wait(); err != nil {
		t.Error(err)
	}
}

func TestSmallTmpfsIsFullAtItsSize(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	dir := SmallTmpfs(t, 64<<10)
	if err := os.WriteFile(dir+"/fits", make([]byte, 32<<10), 0o600); err != nil {
		t.Errorf("write half of it = %v, want nil", err)
	}
	if err := os.WriteFile(dir+"/large", make([]byte, 64<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write more than is left = %v, want %v", err, syscall.ENOSPC)
	}
}

func TestTmpfsDirIsPrivateTmpfs(t *testing.T) {
	t.Parallel()
	dir := TmpfsDir(t)
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("Stat(%s) = %v, %v, want mode 0700", dir, info.Mode(), err)
	}
	var fs syscall.Statfs_t
	const tmpfsMagic = 0x01021994 // statfs(2)
	if err := syscall.Statfs(dir, &fs); err != nil || fs.Type != tmpfsMagic {
		t.Errorf("Statfs(%s) = type %#x, %v, want tmpfs", dir, fs.Type, err)
	}
}

func TestEventuallyFailsWithTheLastError(t *testing.T) {
	t.Parallel()
	calls := 0
	f := fatal{T: t, message: make(chan string, 1)}
	go func() {
		Eventually(f, 300*time.Millisecond, "rain", func() error {
			calls++
			return fmt.Errorf("dry %d", calls)
		})
	}()
	got := <-f.message
	if want := fmt.Sprintf("wait 300ms for rain: dry %d", calls); got != want {
		t.Errorf("Eventually() failed with %q, want %q", got, want)
	}
	if calls < 2 {
		t.Errorf("Eventually() looked %d times, want more", calls)
	}
}

// fatal records what ends the test instead of ending it.
type fatal struct {
	*testing.T
	message chan string
}

func (f fatal) Fatalf(format string, args ...any) { f.message <- fmt.Sprintf(format, args...) }

package packages

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

const (
	bootLimit = 2 * time.Minute
	soon      = 90 * time.Second // for what takes a second on a quiet machine
)

// start boots what TLSFLEET_BOOT names, the root folder of a Debian, with a
// layer of its own above it. There is no other way in from this host than
// through the namespaces of its first process.
const start = `set -e
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" overlay "$2/root"
until
	status=0
	systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --machine=tlsfleet-packages --directory="$2/root" \
		--bind-ro="$3:/mnt/given" --bind-ro="$4:/usr/local/bin/consul" --console=pipe || status=$?
	[ $status -ne 133 ] # it is to be started again
do
	:
done
exit $status`

// machine is a booted Debian.
type machine struct {
	unshare int
	log     string
}

// boot starts one and ends it with the test. Where systemd-nspawn cannot boot,
// the test is skipped. given is a folder that it sees as /mnt/given.
func boot(t *testing.T, given string) *machine {
	t.Helper()
	base := os.Getenv("TLSFLEET_BOOT")
	if base == "" {
		t.Skip("TLSFLEET_BOOT names no Debian to boot: run `make e2e-packages`")
	}
	layer, err := os.MkdirTemp(filepath.Dir(base), "run-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(layer); err != nil {
			t.Error(err)
		}
	})
	for _, dir := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(layer, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m := &machine{log: filepath.Join(t.TempDir(), "console")}
	// Process ids of their own, because a machine outlives systemd-nspawn.
	m.run(t, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", start, "sh", base, layer, given, testkit.ConsulBinary(t))
	if err := m.awaitBooted(0); err != nil {
		text, readErr := os.ReadFile(m.log)
		t.Skipf("systemd-nspawn does not boot here: %v\n%s", errors.Join(err, readErr), tail(string(text)))
	}
	return m
}

// run starts systemd-nspawn, which ends with the test binary at the latest.
func (m *machine) run(t *testing.T, argv ...string) {
	t.Helper()
	log, err := os.Create(m.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Pdeathsig is sent when the starting thread ends
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start machine: %v", err)
	}
	m.unshare = cmd.Process.Pid
	t.Cleanup(func() {
		if err := syscall.Kill(m.unshare, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
		if err := <-ended; err == nil {
			t.Error("the machine ended by itself")
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
}

// leader is the machine's first process.
func (m *machine) leader() (int, error) {
	pid := m.unshare
	for range 3 { // unshare, the shell, systemd-nspawn, the machine
		out, err := exec.Command("pgrep", "--parent", strconv.Itoa(pid)).Output()
		if err != nil {
			return 0, fmt.Errorf("find first process: %w", err)
		}
		if pid, err = strconv.Atoi(strings.TrimSpace(string(out))); err != nil {
			return 0, fmt.Errorf("find first process: %w", err)
		}
	}
	return pid, nil
}

// awaitBooted waits until all units of a boot by another leader have been
// started.
func (m *machine) awaitBooted(before int) error {
	var err error
	for until := time.Now().Add(bootLimit); time.Now().Before(until); <-time.After(200 * time.Millisecond) {
		leader, findErr := m.leader()
		if err = findErr; err != nil || leader == before {
			continue
		}
		var state string
		if state, err = m.try("systemctl", "is-system-running"); strings.TrimSpace(state) == "running" || strings.TrimSpace(state) == "degraded" {
			return nil
		}
	}
	return errors.Join(errors.New("not booted in time"), err)
}

// reboot does what a person's reboot does.
func (m *machine) reboot(t *testing.T) {
	t.Helper()
	before, err := m.leader()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := m.try("systemctl", "reboot"); err != nil {
		t.Logf("systemctl reboot: %v %s", err, out) // it may be cut off
	}
	if err := m.awaitBooted(before); err != nil {
		t.Fatalf("reboot: %v", err)
	}
}

// command prepares a program inside, with a clean environment.
func (m *machine) command(argv ...string) (*exec.Cmd, error) {
	leader, err := m.leader()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("nsenter", append([]string{
		"--target", strconv.Itoa(leader), "--all",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8",
	}, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

// try runs a program inside and returns what it wrote.
func (m *machine) try(argv ...string) (string, error) {
	cmd, err := m.command(argv...)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

// do is try for what has to succeed.
func (m *machine) do(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := m.try(argv...)
	if err != nil {
		journal, journalErr := m.try("journalctl", "--no-pager", "-n", "40", "-u", "tlsfleet", "-u", "tlsfleet-restore", "-u", "nginx")
		t.Fatalf("%v: %v\n%s\njournal: %v %s", argv, err, out, journalErr, journal)
	}
	return out
}

// sh is do for a line of shell.
func (m *machine) sh(t *testing.T, line string) string {
	t.Helper()
	return m.do(t, "bash", "-ec", line)
}

// await waits until a line of shell writes text that has want in it.
func (m *machine) await(t *testing.T, line, want string) {
	t.Helper()
	testkit.Eventually(t, soon, line, func() error {
		if out, err := m.try("bash", "-c", line); !strings.Contains(out, want) {
			return fmt.Errorf("%q, %w, want %q in it", tail(out), err, want)
		}
		return nil
	})
}

// property is a unit's, from systemctl show.
func (m *machine) property(t *testing.T, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(m.do(t, "systemctl", "show", unit, "--value", "--property", name))
}

func (m *machine) want(t *testing.T, line, want string) {
	t.Helper()
	if out, err := m.try("bash", "-c", line); strings.TrimSpace(out) != want {
		t.Errorf("%s = %q (%v), want %q", line, tail(out), err, want)
	}
}

func tail(text string) string {
	return text[max(0, len(text)-2000):]
}

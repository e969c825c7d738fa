package status_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asker is set in the process that askAs starts.
const asker = "TLSFLEET_TEST_ASK"

// open lets other users get as far as to a socket of a test.
func open(t *testing.T, socket string) {
	t.Helper()
	for _, dir := range []string{filepath.Dir(socket), filepath.Dir(filepath.Dir(socket))} {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it is for others to pass
			t.Fatal(err)
		}
	}
}

// askAs makes one request in a process of another user, and errs unless it is
// answered with 200.
func askAs(t *testing.T, socket, method, path, body string, who *syscall.Credential) ([]byte, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join("/dev/shm", filepath.Base(t.TempDir())+"-"+strings.ReplaceAll(t.Name(), "/", "-"))
	t.Cleanup(func() {
		if err := os.Remove(own); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(own, text, 0o755); err != nil { //nolint:gosec // the other user has to run it
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), own, "-test.run=^$")
	cmd.Env = append(os.Environ(), asker+"="+strings.Join([]string{socket, method, path, body}, "\n"))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	return cmd.CombinedOutput()
}

func TestMain(m *testing.M) {
	what, asked := os.LookupEnv(asker)
	if !asked {
		os.Exit(m.Run())
	}
	part := strings.SplitN(what, "\n", 4)
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", part[0])
	}}}
	req, err := http.NewRequestWithContext(context.Background(), part[1], "http://agent"+part[2], strings.NewReader(part[3]))
	if err != nil {
		panic(err)
	}
	resp, err := c.Do(req) //nolint:bodyclose // the process ends with it
	if err != nil {
		os.Stderr.WriteString(err.Error()) //nolint:errcheck // the exit code says it
		os.Exit(1)
	}
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil || resp.StatusCode/100 != 2 {
		os.Exit(1)
	}
	os.Exit(0)
}

package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// workers is the user of nginx's workers that is not root.
const workers = "www-data"

// TestKeysAreForRootAndWorkersOnly serves by workers that are not root, to
// whom nobody else is equal.
func TestKeysAreForRootAndWorkersOnly(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("nginx gives its workers another user only as root")
	}
	for name, settings := range map[string]Settings{"listed": listed, "open": open, "static": {"certificates.mode": "static"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			include := filepath.Join(t.TempDir(), "servers.conf")
			if err := os.WriteFile(include, []byte("location / { autoindex on; }\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			o := onShared(t, 1, with(settings, Settings{"certificates.server_include": include}))
			o.Nginx = func(_ int, o *testkit.NginxOptions) { o.User = workers }
			f, ca := newCertFleet(t, o), newCA(t)
			n := f.Nodes[0]
			if err := os.Chmod(filepath.Dir(n.Nginx.Dir), 0o755); err != nil { // workers pass through it
				t.Fatal(err)
			}
			leaf := ca.Issue(t, 30, "a-keys.test")
			f.Import(t, leaf)
			f.AwaitServed(t, ca, "a-keys.test", leaf, n)
			n.wantKeysFor(t, workers)
			for _, path := range []string{
				"/privkey.pem", "//privkey.pem", "/root/../privkey.pem", "/../privkey.pem", "/%2e%2e/privkey.pem", "/..%2fprivkey.pem",
				"/fullchain.pem", "/a-keys.test/privkey.pem", "/",
			} {
				var w Welcome
				testkit.Eventually(t, settle, "GET "+path, func() (err error) { // workers of the last release may still accept
					w, err = n.Greet(t, ca, Hello{SNI: "a-keys.test", Path: path})
					return err
				})
				if strings.Contains(w.Answer, "PRIVATE KEY") || strings.Contains(w.Answer, "privkey") || path != "/" && strings.HasPrefix(w.Answer, "HTTP/1.1 200") {
					t.Errorf("GET %s = %.300q, want no key", path, w.Answer)
				}
			}
		})
	}
}

// wantKeysFor fails the test if a private key can be read by more than root
// and the group of a user, or not by that user.
func (n *Node) wantKeysFor(t *testing.T, name string) {
	t.Helper()
	account, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := filepath.Glob(filepath.Join(n.StateDir, "store", "*", "privkey.pem"))
	if err != nil || len(keys) == 0 {
		t.Fatalf("find keys: %v, %v", keys, err)
	}
	for _, key := range keys {
		info, err := os.Stat(key)
		if err != nil {
			t.Fatal(err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || info.Mode() != 0o640 || st.Uid != 0 || strconv.Itoa(int(st.Gid)) != account.Gid {
			t.Errorf("%s is %s of %+v, want 0640 of root and group %s", key, info.Mode(), st, account.Gid)
		}
		if err := readAs(t, key, account.Uid, account.Gid); err != nil {
			t.Errorf("%s cannot read %s: %v", name, key, err)
		}
		if err := readAs(t, key, "65534", "65534"); err == nil {
			t.Errorf("nobody can read %s", key)
		}
	}
	walk(t, n.StateDir, func(path string, info fs.FileInfo) error {
		if info.IsDir() && info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s is %s, want nothing for others", path, info.Mode())
		}
		return nil
	})
}

// readAs reads a file as another user.
func readAs(t *testing.T, path, uid, gid string) error {
	t.Helper()
	ids := [2]uint32{}
	for i, s := range []string{uid, gid} {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = uint32(n)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/cat", path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ids[0], Gid: ids[1]}}
	return cmd.Run()
}

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// guarded is a node that serves two names, and where its files are.
type guarded struct {
	*Fleet
	*Node
	ca          *CA
	a, b        Leaf
	state, live string
}

func newGuarded(t *testing.T, o FleetOptions) *guarded {
	t.Helper()
	f, ca := newCertFleet(t, o), newCA(t)
	g := &guarded{Fleet: f, Node: f.Nodes[0], ca: ca, a: ca.Issue(t, 30, "a-guard.test"), b: ca.Issue(t, 30, "b-guard.test")}
	g.state, g.live = g.StateDir, filepath.Join(g.StateDir, "live")
	g.AwaitFollowed(t, f.Import(t, g.a, g.b), 2)
	f.AwaitServed(t, ca, "a-guard.test", g.a, g.Node)
	f.AwaitServed(t, ca, "b-guard.test", g.b, g.Node)
	g.AwaitNoProblem(t)
	return g
}

// bundle is the folder a name is served from.
func (g *guarded) bundle(t *testing.T, name string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(filepath.Join(g.live, name))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// current is the folder of the active release.
func (g *guarded) current(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(filepath.Join(g.state, "nginx", "current"))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// key is the file of one ticket key.
func (g *guarded) key(t *testing.T) string {
	t.Helper()
	return filepath.Join(g.RunDir, "tickets", g.sealsNow(t).String()+".key")
}

func put(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }

// relink has a link lead elsewhere, in one rename: an agent puts one back that is
// gone for a moment.
func relink(path, to string) error {
	link := filepath.Dir(filepath.Dir(path)) + "/link"
	return errors.Join(os.Symlink(to, link), os.Rename(link, path))
}

// removeAll removes a folder that an agent may be putting back meanwhile.
func removeAll(path string) error {
	if err := os.RemoveAll(path); !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}

// awaitOld waits until workers that run now are too old to have read an edit that
// comes after it: the agent allows for the time until it notices one, and a second.
func awaitOld(t *testing.T) {
	t.Helper()
	began := time.Now()
	testkit.Eventually(t, settle, "older workers", func() error {
		if age := time.Since(began); age < 2*time.Second {
			return fmt.Errorf("some may be %s old", age)
		}
		return nil
	})
}

// tree is every path under some folders, with what makes it what it is.
func tree(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, dir := range dirs {
		walk(t, dir, func(path string, info fs.FileInfo) (err error) {
			text, target := []byte(nil), ""
			switch {
			case info.Mode()&os.ModeSymlink != 0:
				target, err = os.Readlink(path)
			case info.Mode().IsRegular():
				text, err = os.ReadFile(path)
			}
			if err == nil {
				all[path] = fmt.Sprintf("%s %s%s", info.Mode(), target, text)
			}
			return err
		})
	}
	return all
}

// walk visits what is below a folder of a node that runs: what goes meanwhile
// is passed over.
func walk(t *testing.T, dir string, visit func(path string, info fs.FileInfo) error) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = os.Lstat(path); err == nil {
				err = visit(path, info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// differ names a path in which two trees differ; empty if in none.
func differ(a, b map[string]string) string {
	for path := range a {
		if b[path] != a[path] {
			return path
		}
	}
	for path := range b {
		if _, ok := a[path]; !ok {
			return path
		}
	}
	return ""
}

// AwaitToldOf waits for a problem that names a path: it may be found in parts.
func (g *guarded) AwaitToldOf(t *testing.T, path, code string, severity fleet.Severity) {
	t.Helper()
	g.AwaitReport(t, code+" of "+path, func(r fleet.Report) error {
		if p, ok := (NodeStatus{Report: &r}).Problem(code); !ok || p.Severity != severity || !strings.Contains(p.Message, path) {
			return fmt.Errorf("problems are %+v", r.Problems)
		}
		return nil
	})
}

// TestForeignEditsAreRepaired changes something by hand that the agent has
// written: it is as before at once, nginx is not told, and the report says so.
func TestForeignEditsAreRepaired(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		edit  func(t *testing.T, g *guarded) (path string, err error)
		alarm bool
	}{
		"link removed": {edit: func(_ *testing.T, g *guarded) (string, error) {
			return g.live + "/a-guard.test", os.Remove(g.live + "/a-guard.test")
		}},
		"link to another bundle": {edit: func(t *testing.T, g *guarded) (string, error) {
			return g.live + "/a-guard.test", relink(g.live+"/a-guard.test", "../store/"+filepath.Base(g.bundle(t, "b-guard.test")))
		}},
		"link to elsewhere": {edit: func(_ *testing.T, g *guarded) (string, error) {
			return g.live + "/a-guard.test", relink(g.live+"/a-guard.test", "/etc")
		}},
		"folder in the place of a link": {edit: func(_ *testing.T, g *guarded) (string, error) {
			path := g.live + "/a-guard.test"
			folder := g.state + "/folder"
			err := errors.Join(os.Mkdir(folder, 0o755), put(folder+"/fullchain.pem", "x"))
			if err == nil {
				err = unix.Renameat2(unix.AT_FDCWD, folder, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
			}
			return path, errors.Join(err, os.Remove(folder)) // the link
		}},
		"live removed": {edit: func(_ *testing.T, g *guarded) (string, error) { return g.live, removeAll(g.live) }},
		"live open to all": {edit: func(_ *testing.T, g *guarded) (string, error) {
			return g.live, os.Chmod(g.live, 0o777)
		}},
		"store removed": {edit: func(_ *testing.T, g *guarded) (string, error) {
			return g.state + "/store", removeAll(g.state + "/store")
		}},
		"link of a foreign name": {edit: func(t *testing.T, g *guarded) (string, error) {
			return g.live + "/evil.test", os.Symlink("../store/"+filepath.Base(g.bundle(t, "b-guard.test")), g.live+"/evil.test")
		}},
		"certificate changed": {edit: func(t *testing.T, g *guarded) (string, error) {
			path := g.bundle(t, "a-guard.test")
			return path, put(path+"/fullchain.pem", "x")
		}},
		"key gone": {edit: func(t *testing.T, g *guarded) (string, error) {
			path := g.bundle(t, "a-guard.test") + "/privkey.pem"
			return path, os.Remove(path)
		}},
		"document planted": {edit: func(t *testing.T, g *guarded) (string, error) {
			path := g.bundle(t, "a-guard.test") + "/root/index.html"
			return path, put(path, "x")
		}},
		"file beside the key": {edit: func(t *testing.T, g *guarded) (string, error) {
			path := g.bundle(t, "a-guard.test") + "/copy"
			return path, put(path, "x")
		}},
		"bundle removed": {edit: func(t *testing.T, g *guarded) (string, error) {
			path := g.bundle(t, "a-guard.test")
			return path, removeAll(path)
		}},
		"private key open to all": {alarm: true, edit: func(t *testing.T, g *guarded) (string, error) {
			path := g.bundle(t, "a-guard.test") + "/privkey.pem"
			return path, os.Chmod(path, 0o644)
		}},
		"private key of another group": {alarm: true, edit: func(t *testing.T, g *guarded) (string, error) {
			path := g.bundle(t, "a-guard.test") + "/privkey.pem"
			return path, os.Chown(path, 0, 1)
		}},
		"release changed": {edit: func(t *testing.T, g *guarded) (string, error) {
			files, err := filepath.Glob(g.current(t) + "/*.conf")
			return files[0], errors.Join(err, put(files[0], "# x\n"))
		}},
		"file planted in the release": {edit: func(t *testing.T, g *guarded) (string, error) {
			path := g.current(t) + "/zz.conf"
			return path, put(path, "x")
		}},
		"manifest changed": {edit: func(t *testing.T, g *guarded) (string, error) {
			path := g.current(t) + "/release.json"
			return path, put(path, "{}")
		}},
		"release removed": {edit: func(t *testing.T, g *guarded) (string, error) {
			path := g.current(t)
			return path, removeAll(path)
		}},
		"current removed": {edit: func(_ *testing.T, g *guarded) (string, error) {
			path := g.state + "/nginx/current"
			return path, os.Remove(path)
		}},
		"releases removed": {edit: func(_ *testing.T, g *guarded) (string, error) {
			path := g.state + "/nginx"
			return path, removeAll(path)
		}},
		"ticket key changed": {edit: func(t *testing.T, g *guarded) (string, error) {
			return g.key(t), put(g.key(t), strings.Repeat("x", 80))
		}},
		"ticket keys removed": {edit: func(_ *testing.T, g *guarded) (string, error) {
			path := g.RunDir + "/tickets"
			return path, removeAll(path)
		}},
		"ticket key open to all": {alarm: true, edit: func(t *testing.T, g *guarded) (string, error) {
			return g.key(t), os.Chmod(g.key(t), 0o644)
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t, onShared(t, 1, open))
			folders := []string{g.live, g.state + "/store", g.current(t), g.state + "/nginx/current", g.state + "/nginx/good", g.RunDir + "/tickets"}
			before, release := tree(t, folders...), g.release(t)
			awaitOld(t)
			path, err := tt.edit(t, g)
			if err != nil {
				t.Fatal(err)
			}
			g.AwaitToldOf(t, path, "foreign-edit", fleet.Warning)
			if tt.alarm {
				g.AwaitToldOf(t, path, "keys-exposed", fleet.Alarm)
			}
			testkit.Eventually(t, settle, "the repair", func() error {
				if path := differ(before, tree(t, folders...)); path != "" {
					return fmt.Errorf("%s is not as before", path)
				}
				return nil
			})
			g.AwaitServed(t, g.ca, "a-guard.test", g.a, g.Node)
			g.AwaitServed(t, g.ca, "b-guard.test", g.b, g.Node)
			if got := g.release(t); got != release {
				t.Errorf("release and reloads = %v, want %v as before", got, release)
			}
			if err := g.Nginx.Test(t); err != nil {
				t.Errorf("nginx -t after the repair: %v", err)
			}
		})
	}
}

package config_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/config"
)

const (
	patience = 30 * time.Second
	silence  = time.Second // much longer than Watch gathers events
)

// watched starts Watch on path and returns the calls of changed.
func watched(t *testing.T, path string) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	calls, done := make(chan struct{}, 100), make(chan error, 1)
	go func() { done <- config.Watch(ctx, path, func() { calls <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Watch = %v, want nil at the end of its context", err)
			}
		case <-time.After(patience):
			t.Error("Watch still runs after its context")
		}
	})
	// Watch is at work as soon as a change shows.
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for n := range byte(100) {
		put(t, path, []byte{n})
		select {
		case <-calls:
			quiet(t, calls)
			return calls
		case <-tick.C:
		}
	}
	t.Fatal("Watch never told of a change")
	return nil
}

// quiet waits until no call comes any more.
func quiet(t *testing.T, calls <-chan struct{}) {
	t.Helper()
	const looks = 10 // a machine that stands still for a moment passes one of them
	for n := 0; n < looks; n++ {
		select {
		case <-calls:
			n = -1
		case <-time.After(silence / looks):
		}
	}
}

func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// link makes name a symbolic link to target, in one rename.
func link(t *testing.T, target, name string) {
	t.Helper()
	must(t, os.Symlink(target, name+".new"))
	must(t, os.Rename(name+".new", name))
}

func TestWatchTellsOnce(t *testing.T) {
	tests := map[string]struct {
		path   string // of the file, in the folder
		setUp  func(t *testing.T, dir string)
		act    func(t *testing.T, dir string)
		atomic bool // no reader can see a state in between
	}{
		"rewritten in place": {path: "c.hcl", act: func(t *testing.T, dir string) { put(t, dir+"/c.hcl", []byte("other")) }},
		"renamed over": {path: "c.hcl", act: func(t *testing.T, dir string) {
			put(t, dir+"/.c.swp", []byte("other"))
			must(t, os.Rename(dir+"/.c.swp", dir+"/c.hcl"))
		}, atomic: true},
		"moved away and written anew": {path: "c.hcl", act: func(t *testing.T, dir string) {
			must(t, os.Rename(dir+"/c.hcl", dir+"/c.hcl~"))
			put(t, dir+"/c.hcl", []byte("other"))
		}},
		"many writes": {path: "c.hcl", act: func(t *testing.T, dir string) {
			for n := range byte(50) {
				put(t, dir+"/c.hcl", []byte("other"+string('a'+n)))
			}
		}},
		"link swapped": {path: "c.hcl", setUp: func(t *testing.T, dir string) {
			put(t, dir+"/one", nil)
			put(t, dir+"/two", []byte("other"))
			link(t, "one", dir+"/c.hcl")
		}, act: func(t *testing.T, dir string) { link(t, "two", dir+"/c.hcl") }, atomic: true},
		"target in another folder rewritten": {path: "c.hcl", setUp: func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir+"/far", 0o700))
			put(t, dir+"/far/file", nil)
			link(t, dir+"/far/file", dir+"/c.hcl")
		}, act: func(t *testing.T, dir string) { put(t, dir+"/far/file", []byte("other")) }},
		"mounted by Kubernetes": {path: "c.hcl", setUp: func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir+"/..1", 0o700))
			put(t, dir+"/..1/c.hcl", nil)
			link(t, "..1", dir+"/..data")
			link(t, "..data/c.hcl", dir+"/c.hcl")
		}, act: func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir+"/..2", 0o700))
			put(t, dir+"/..2/c.hcl", []byte("other"))
			link(t, "..2", dir+"/..data")
			must(t, os.RemoveAll(dir+"/..1"))
		}, atomic: true},
		"folder is a swapped link": {path: "etc/c.hcl", setUp: func(t *testing.T, dir string) {
			must(t, os.MkdirAll(dir+"/one", 0o700))
			must(t, os.MkdirAll(dir+"/two", 0o700))
			put(t, dir+"/one/c.hcl", nil)
			put(t, dir+"/two/c.hcl", []byte("other"))
			link(t, "one", dir+"/etc")
		}, act: func(t *testing.T, dir string) { link(t, "two", dir+"/etc") }, atomic: true},
		"folder removed and made again": {path: "etc/c.hcl", setUp: func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir+"/etc", 0o700))
			put(t, dir+"/etc/c.hcl", nil)
		}, act: func(t *testing.T, dir string) {
			must(t, os.Rename(dir+"/etc", dir+"/old"))
			must(t, os.Mkdir(dir+"/etc", 0o700))
			put(t, dir+"/etc/c.hcl", []byte("other"))
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tc.setUp != nil {
				tc.setUp(t, dir)
			} else {
				put(t, filepath.Join(dir, tc.path), nil)
			}
			calls := watched(t, filepath.Join(dir, tc.path))
			tc.act(t, dir)
			select {
			case <-calls:
			case <-time.After(patience):
				t.Fatal("Watch did not tell of the change")
			}
			if tc.atomic {
				select {
				case <-calls:
					t.Error("Watch told twice of one change")
				case <-time.After(silence):
				}
			}
			quiet(t, calls)
			// It goes on telling after whatever was replaced.
			put(t, filepath.Join(dir, tc.path), []byte("later"))
			select {
			case <-calls:
			case <-time.After(patience):
				t.Error("Watch did not tell of a second change")
			}
		})
	}
}

func TestWatchKeepsSilent(t *testing.T) {
	tests := map[string]func(t *testing.T, dir string){
		"neighbour": func(t *testing.T, dir string) { put(t, dir+"/other", []byte("x")) },
		"same text": func(t *testing.T, dir string) {
			b, err := os.ReadFile(dir + "/c.hcl")
			must(t, err)
			put(t, dir+"/new", b)
			must(t, os.Rename(dir+"/new", dir+"/c.hcl"))
		},
		"removed": func(t *testing.T, dir string) { must(t, os.Remove(dir+"/c.hcl")) },
		"touched": func(t *testing.T, dir string) { must(t, os.Chtimes(dir+"/c.hcl", time.Now(), time.Now())) },
	}
	for name, act := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			put(t, dir+"/c.hcl", nil)
			calls := watched(t, dir+"/c.hcl")
			act(t, dir)
			select {
			case <-calls:
				t.Error("Watch told of a change, want silence")
			case <-time.After(silence):
			}
		})
	}
}

func TestWatchNeedsNoFileAtFirst(t *testing.T) {
	watched(t, filepath.Join(t.TempDir(), "c.hcl"))
}

package renderer

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// settled is how old the youngest of some files has to be before what they say
// is remembered: one that was written twice within a tick of the file system's
// clock looks the same.
const settled = 2 * time.Second

// remembered is what was read last from some files, for as long as they stay as
// they were. The zero value remembers nothing.
type remembered[T any] struct {
	own bool // path is a file that nobody but tlsfleet changes: it need not have settled

	mu    sync.Mutex
	path  string // what was read
	value *T
	marks map[string]mark // by path
}

// get is what was read last if that was of path and no file has changed since,
// else what read gives, with the files that it is of; none if it is not to be
// remembered.
func (m *remembered[T]) get(path string, read func() (T, []string, error)) (T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.value != nil && m.path == path && m.same() {
		return *m.value, nil
	}
	m.path, m.value = path, nil
	began, before := time.Now(), markOf(path)
	v, files, err := read()
	if err != nil || len(files) == 0 {
		return v, err
	}
	m.marks = make(map[string]mark, len(files))
	for _, file := range files {
		k := markOf(file)
		if m.own && k != before || !m.own && k.changed.After(began.Add(-settled)) {
			return v, nil
		}
		m.marks[file] = k
	}
	m.value = &v
	return v, nil
}

func (m *remembered[T]) same() bool {
	for path, was := range m.marks {
		if markOf(path) != was {
			return false
		}
	}
	return true
}

// mark tells two states of a file or a folder apart. The zero value is that of
// none.
type mark struct {
	dev, inode uint64
	size       int64
	changed    time.Time // of the inode: nobody can set it back
}

func markOf(path string) mark {
	info, err := os.Stat(path)
	if err != nil {
		return mark{}
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return mark{changed: time.Now()}
	}
	return mark{dev: st.Dev, inode: st.Ino, size: st.Size, changed: time.Unix(st.Ctim.Unix())}
}

// build is askBuild, asked again when the binary has changed.
func (r *Renderer) build(ctx context.Context) (build, error) {
	path, err := exec.LookPath(r.cfg.Binary)
	if err != nil {
		return r.askBuild(ctx)
	}
	return r.built.get(path, func() (build, []string, error) {
		b, err := r.askBuild(ctx)
		return b, []string{path}, err
	})
}

// parse is parseAll, done again when a file or a folder that it has read, or
// would read, has changed.
func (r *Renderer) parse() (*config, error) {
	return r.parsed.get(r.cfg.ConfigFile, func() (*config, []string, error) {
		c, err := r.parseAll()
		if err != nil {
			return c, nil, err
		}
		return c, c.files(), nil
	})
}

// maxParsed is up to how many bytes of configuration are remembered: parsed they
// take some twenty times as much memory.
const maxParsed = 512 << 10

// files are what the configuration was read from, and the folders of its
// includes; none if that is not known in full, or too much to be remembered.
func (c *config) files() []string {
	if c.unread() != nil {
		return nil
	}
	paths := map[string]bool{}
	known := true
	var walk func(ds crossplane.Directives)
	walk = func(ds crossplane.Directives) {
		for _, d := range ds {
			if d.Directive == "include" && len(d.Args) == 1 {
				path := c.absolute(d.Args[0])
				dir := filepath.Dir(path)
				paths[dir] = true
				known = known && !strings.ContainsAny(dir, "*?[")
			}
			walk(d.Block)
		}
	}
	for _, f := range c.payload.Config {
		paths[f.File] = true
		walk(f.Parsed)
	}
	if !known {
		return nil
	}
	var size int64
	for path := range paths {
		size += markOf(path).size
	}
	if size > maxParsed {
		return nil
	}
	return slices.Collect(maps.Keys(paths))
}

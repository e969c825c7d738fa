package renderer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// foreignDir is where entries of managed folders go that are not ours and may
// be somebody's data.
func (c Config) foreignDir() string { return filepath.Join(c.StateDir, "foreign") }

// LiveEntry is one entry of StateDir/live.
type LiveEntry struct {
	Path string
	Name string     // empty if the entry is not that of a name
	Hash fleet.Hash // of the bundle it leads to; zero if it leads elsewhere
	Here bool       // there is such an entry
}

// LiveEntry looks at one entry of StateDir/live, whatever made it.
func (r *Renderer) LiveEntry(folder string) LiveEntry {
	e := LiveEntry{Path: filepath.Join(r.cfg.liveDir(), folder)}
	if name, ok := liveName(folder); ok {
		e.Name = name
	}
	target, err := os.Readlink(e.Path)
	e.Here = !errors.Is(err, fs.ErrNotExist)
	if err == nil {
		e.Hash, _ = liveHash(target)
	}
	return e
}

// OpenLive opens StateDir/live to be listed bit by bit.
func (r *Renderer) OpenLive() (*os.File, error) { return os.Open(r.cfg.liveDir()) }

// OpenStore opens StateDir/store to be listed bit by bit.
func (r *Renderer) OpenStore() (*os.File, error) { return os.Open(r.cfg.storeDir()) }

// TakeOut takes entries out of StateDir/live that no name is served with: a
// link is removed, anything else moved to StateDir/foreign, because it may be
// somebody's data. What nginx loads when it starts, and what is no name and so
// is never served, stays. done says for each entry what became of it.
func (r *Renderer) TakeOut(folders ...string) (done map[string]string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.certs.Lock()
	defer r.certs.Unlock()
	held, err := r.loaded()
	if err != nil {
		return nil, fmt.Errorf("take out foreign entries: %w", err)
	}
	done = map[string]string{}
	var errs []error
	for _, folder := range folders {
		name, ok := liveName(folder)
		path := filepath.Join(r.cfg.liveDir(), folder)
		switch {
		case !ok:
			done[folder] = "left: it is no name and not served"
			continue
		case len(held[name]) > 0:
			done[folder] = "left: nginx loads it when it starts, says " + held[name][0]
			continue
		}
		if target, err := os.Readlink(path); err == nil {
			done[folder] = fmt.Sprintf("link to %q removed", target)
			errs = append(errs, os.Remove(path))
			continue
		}
		to, err := r.setAside(path)
		done[folder] = "moved to " + to
		errs = append(errs, err)
	}
	return done, errors.Join(append(errs, syncDir(r.cfg.liveDir()))...)
}

// setAside moves what others have put into a managed folder to a place where
// nothing reads it.
func (r *Renderer) setAside(path string) (to string, err error) {
	if err := makeDir(r.cfg.foreignDir(), 0o700); err != nil {
		return "", err
	}
	// A name of the longest kind has no room for more.
	to = filepath.Join(r.cfg.foreignDir(), strconv.FormatInt(time.Now().UnixNano(), 10))
	if err := os.Mkdir(to, 0o700); err != nil {
		return to, err
	}
	return to, os.Rename(path, filepath.Join(to, filepath.Base(path)))
}

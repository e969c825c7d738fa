package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Times of a watch.
const (
	settle    = 200 * time.Millisecond // quiet after an event before the file is read
	maxSettle = 2 * time.Second        // but no longer than this after the first event
	lookAgain = time.Minute            // in case the kernel told nothing, as on network file systems
)

// Watch calls changed, one call at a time, once as soon as it watches, for what
// happened to the file at path before, and then each time its content has
// become another one since the last call. It
// follows editors that rename, writers in place and swapped symbolic links, as
// Kubernetes mounts them. A file that is missing or unreadable is no change.
// It works for any file and returns nil when ctx ends.
func Watch(ctx context.Context, path string, changed func()) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	w := &watch{path: path, fs: fs}
	if err = w.follow(); err == nil {
		w.differs()
		changed()
		err = w.loop(ctx, changed)
	}
	if cerr := fs.Close(); cerr != nil {
		err = errors.Join(err, cerr)
	}
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	return nil
}

type watch struct {
	path string
	fs   *fsnotify.Watcher
	sum  [sha256.Size]byte
}

func (w *watch) loop(ctx context.Context, changed func()) error {
	idle := time.NewTicker(lookAgain)
	defer idle.Stop()
	var due <-chan time.Time
	var first time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.fs.Events:
			if !ok {
				return fsnotify.ErrClosed
			}
			now := time.Now()
			if due == nil {
				first = now
			}
			due = time.After(min(settle, max(0, maxSettle-now.Sub(first))))
			continue
		case err, ok := <-w.fs.Errors:
			if !ok {
				return fsnotify.ErrClosed
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return err
			}
		case <-idle.C:
		case <-due:
		}
		due = nil
		next := lookAgain
		if w.follow() != nil { // a folder vanished while it was added
			next = settle
		}
		idle.Reset(next)
		if w.differs() {
			changed()
		}
	}
}

// follow watches the folders that decide what the path leads to, and no others.
func (w *watch) follow() error {
	want := folders(w.path)
	for _, dir := range w.fs.WatchList() {
		if slices.Contains(want, dir) {
			continue
		}
		if err := w.fs.Remove(dir); err != nil && !errors.Is(err, fsnotify.ErrNonExistentWatch) {
			return err
		}
	}
	for _, dir := range want {
		if err := w.fs.Add(dir); err != nil {
			return err
		}
	}
	return nil
}

// folders lists, without links in their own paths, the folder of the file and
// that of every symbolic link on the way to it. Where the way ends early, the
// last folder is the one in which it may go on.
func folders(path string) []string {
	const maxLinks = 40 // as many as the kernel follows
	var dirs []string
	at, rest := "/", strings.Split(path, "/")
	for links := 0; len(rest) > 0 && links <= maxLinks; {
		here := filepath.Join(at, rest[0])
		rest = rest[1:]
		to, err := os.Readlink(here)
		if err == nil {
			links++
			dirs = append(dirs, at)
			rest = append(strings.Split(to, "/"), rest...)
			if filepath.IsAbs(to) {
				at = "/"
			}
			continue
		}
		if _, err := os.Lstat(here); err != nil || len(rest) == 0 {
			return append(dirs, at)
		}
		at = here
	}
	return dirs
}

// differs reads the file and reports whether it has other content than at the
// last reading.
func (w *watch) differs() bool {
	src, err := os.ReadFile(w.path)
	if err != nil {
		return false
	}
	sum := sha256.Sum256(src)
	if sum == w.sum {
		return false
	}
	w.sum = sum
	return true
}

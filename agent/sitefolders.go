package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// foldersQuiet is how long nothing happens in a folder before it is read.
const foldersQuiet = 200 * time.Millisecond

// watchFolders calls changed after something has happened in one of the folders,
// which may be missing, until ctx ends.
func watchFolders(ctx context.Context, dirs []string, changed func()) (err error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch folders of sites: %w", err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	var due <-chan time.Time
	for {
		look := time.After(fleet.UntilBeat(siteLook))
		for _, dir := range dirs {
			if info, err := os.Stat(dir); err != nil || !info.IsDir() {
				dir = filepath.Dir(dir) // where it may be made
			}
			if err := w.Add(dir); err != nil {
				continue // looked at again with the next tick
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return fsnotify.ErrClosed
			}
			if due == nil {
				due = time.After(foldersQuiet)
			}
		case err := <-w.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return errors.Join(fsnotify.ErrClosed, err)
			}
			changed()
		case <-look:
		case <-due:
			due = nil
			changed()
		}
	}
}

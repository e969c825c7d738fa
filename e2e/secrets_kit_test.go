package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fsnotify/fsnotify"
)

// created notes which files were made in a folder, however short they lived.
type created struct {
	mu   sync.Mutex
	list []string
}

func watchCreated(t *testing.T, dir string) *created {
	t.Helper()
	w, err := fsnotify.NewBufferedWatcher(1000)
	if err == nil {
		err = w.Add(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &created{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range w.Events {
			if e.Has(fsnotify.Create) {
				c.mu.Lock()
				c.list = append(c.list, filepath.Base(e.Name))
				c.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return c
}

func (c *created) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list)
}

// saw reports whether a text with one of the words in it was collected.
func (s *Secrets) saw(kind string, words ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := range s.seen[kind] {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) }) {
			return true
		}
	}
	return false
}

// wantFound fails the test if the search does not find a planted secret in each
// kind of place.
func (s *Secrets) wantFound(t *testing.T, planted []byte, kinds ...string) {
	t.Helper()
	control := &Secrets{parts: map[string]bool{}}
	control.Add("planted", planted)
	found := map[string]bool{}
	for _, p := range s.places(t) {
		if len(control.In(p.text)) > 0 {
			found[p.kind] = true
		}
	}
	for _, kind := range kinds {
		if !found[kind] {
			t.Errorf("a planted secret was not found in any %s: the search is blind", kind)
		}
	}
}

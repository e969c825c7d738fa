package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestArchiveAwayIsToldAndCatchesUp has an archive whose folder cannot be made.
func TestArchiveAwayIsToldAndCatchesUp(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	away := filepath.Join(t.TempDir(), "mount")
	cfg := x.cfg
	cfg.Leader.Eligible, cfg.Archives = true, []config.Archive{{Name: "disk", Directory: x.dir}, {Name: "away", Directory: filepath.Join(away, "archive")}}
	probs := newProblems(func() {})
	all, err := openArchives(cfg, x.store, probs, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer all.close()
	for _, c := range all.list {
		c.behind, c.tell = time.Second, 10*time.Millisecond
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { all.Run(ctx); close(ended) }()
	defer func() { stop(); <-ended }()
	x.fill(t, "a.test")
	all.changed(issuance.ID([]string{"a.test"}))
	holds := func(names int) error {
		got, err := x.ReadArchive(t.Context(), "disk", nil)
		if err == nil && (got.Info.Names != names || got.Info.Items != names) {
			err = fmt.Errorf("the copy is %+v", got.Info)
		}
		return err
	}
	testkit.Eventually(t, 50*time.Second, "the copy in the archive that is there", func() error { return holds(1) })
	testkit.Eventually(t, 50*time.Second, "the alarm", func() error {
		l := probs.list()
		if len(l) != 1 || l[0].Code != "archive-behind" || !strings.Contains(l[0].Message, "away") {
			return fmt.Errorf("problems are %+v", l)
		}
		if lags := all.lags(); lags[1].Lag < time.Second || lags[1].Pending == 0 {
			return fmt.Errorf("lags are %+v", lags)
		}
		return nil
	})
	if err := os.Mkdir(away, 0o700); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 60*time.Second, "the archive to catch up", func() error {
		if l := probs.list(); len(l) > 0 {
			return fmt.Errorf("problems are %+v", l)
		}
		if lags := all.lags(); lags[0].Lag+lags[1].Lag > 0 {
			return fmt.Errorf("lags are %+v", lags)
		}
		_, err := readManifest(t.Context(), archive.Directory(filepath.Join(away, "archive")), x.store, x.cfg.Fleet)
		return err
	})
}

// slowed stores nothing while it is slow, until it is let go.
type slowed struct {
	archive.Archive
	slow atomic.Bool
	gone chan struct{}
}

func (s *slowed) Put(ctx context.Context, name string, data []byte) error {
	if !s.slow.Load() {
		return s.Archive.Put(ctx, name, data)
	}
	select {
	case <-s.gone:
		return s.Archive.Put(ctx, name, data)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestSlowArchiveHoldsNothingUp has two archives, one of which takes its time once
// it has a copy.
func TestSlowArchiveHoldsNothingUp(t *testing.T) {
	t.Parallel()
	x := newCopied(t)
	cfg, slow := x.cfg, filepath.Join(t.TempDir(), "slow")
	cfg.Leader.Eligible, cfg.Archives = true, []config.Archive{{Name: "disk", Directory: x.dir}, {Name: "slow", Directory: slow}}
	probs := newProblems(func() {})
	all, err := openArchives(cfg, x.store, probs, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer all.close()
	s := &slowed{Archive: all.list[1].copier.target, gone: make(chan struct{})}
	all.list[1].copier.target = s
	all.list[1].behind, all.list[1].tell = time.Second, 10*time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { all.Run(ctx); close(ended) }()
	defer func() { stop(); <-ended }()
	holds := func(dir string, names int) error {
		m, err := readManifest(t.Context(), archive.Directory(dir), x.store, x.cfg.Fleet)
		if err == nil && (m.Names != names || m.Items != names) {
			err = fmt.Errorf("the copy has %d names and %d items, want %d", m.Names, m.Items, names)
		}
		return err
	}
	for i, name := range []string{"a.test", "b.test"} {
		x.fill(t, name)
		all.changed(issuance.ID([]string{name}))
		testkit.Eventually(t, 50*time.Second, "the copy beside the slow archive", func() error { return holds(x.dir, i+1) })
		if i == 0 {
			testkit.Eventually(t, 50*time.Second, "the first copy", func() error {
				if lags := all.lags(); lags[1].Lag > 0 {
					return fmt.Errorf("lags are %+v", lags)
				}
				return holds(slow, 1)
			})
			s.slow.Store(true)
		}
	}
	testkit.Eventually(t, 50*time.Second, "word of the slow archive", func() error {
		if l := probs.list(); len(l) != 1 || l[0].Code != "archive-behind" || !strings.Contains(l[0].Message, "the archive is slow") {
			return fmt.Errorf("problems are %+v", l)
		}
		return nil
	})
	if err := holds(slow, 1); err != nil {
		t.Errorf("the slow archive beside it: %v, want its copy of before", err)
	}
	close(s.gone)
	testkit.Eventually(t, time.Minute, "the slow archive to catch up", func() error {
		if l := probs.list(); len(l) > 0 {
			return fmt.Errorf("problems are %+v", l)
		}
		return holds(slow, 2)
	})
}

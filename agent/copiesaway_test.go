package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
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
	all, err := openArchives(cfg, x.store, probs, nil, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer all.close()
	v := &view{problems: probs, changed: func() {}}
	all.every, all.told = 10*time.Millisecond, v.archived
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
		told := archiveStatus(v.Report().Archives, time.Now())
		if len(told) != 2 || told[0].Behind > 0 || told[0].Copied.IsZero() || told[1].Behind == 0 || told[1].Pending == 0 || !told[1].Copied.IsZero() || told[1].Err == "" {
			return fmt.Errorf("the report has %+v, want that all is copied to disk only", told)
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
		for _, c := range v.Report().Archives {
			if !c.Since.IsZero() || c.Copied.IsZero() || c.Pending > 0 || c.Err != "" {
				return fmt.Errorf("the report has %+v, want that all is copied", c)
			}
		}
		_, err := readManifest(t.Context(), archive.Directory(filepath.Join(away, "archive")), x.store, x.cfg.Fleet)
		return err
	})
	stop()
	<-ended
	if got := v.Report().Archives; len(got) > 0 {
		t.Errorf("the report has %+v after the end of the lead, want nothing", got)
	}
}

// TestArchivesThatGoOnMakeNoReports has copies told as often as they are looked at.
func TestArchivesThatGoOnMakeNoReports(t *testing.T) {
	t.Parallel()
	at := time.Unix(1800000000, 0)
	copied := func(seconds int) fleet.Archive {
		return fleet.Archive{Name: "disk", Copied: at.Add(time.Duration(seconds) * time.Second)}
	}
	behind := func(pending int, err string) fleet.Archive {
		return fleet.Archive{Name: "disk", Copied: at, Since: at, Pending: pending, Err: err}
	}
	reports := 0
	v := &view{problems: newProblems(func() {}), changed: func() { reports++ }}
	for i, step := range []struct {
		told []fleet.Archive
		want int // reports so far
	}{
		{nil, 0},
		{[]fleet.Archive{behind(1, "")}, 1},
		{[]fleet.Archive{behind(7, "")}, 1},
		{[]fleet.Archive{behind(8, "refused")}, 2},
		{[]fleet.Archive{behind(9, "timed out")}, 2},
		{[]fleet.Archive{copied(1)}, 3},
		{[]fleet.Archive{copied(61)}, 3},
		{[]fleet.Archive{copied(121)}, 3},
		{nil, 4},
	} {
		v.archived(step.told)
		if got := v.Report().Archives; reports != step.want || !slices.Equal(got, step.told) {
			t.Errorf("step %d: %d reports, the last with %+v, want %d with %+v", i, reports, got, step.want, step.told)
		}
	}
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
	all, err := openArchives(cfg, x.store, probs, nil, hclog.NewNullLogger())
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

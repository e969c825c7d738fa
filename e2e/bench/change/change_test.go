package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// tools are the binaries that make builds before the tests.
func tools(t *testing.T) (template, tlsfleet string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(cache, "tlsfleet", "tools", "consul-template-*", "consul-template"))
	if err != nil || len(found) == 0 {
		t.Fatalf("find consul-template: %v: run 'make tools'", err)
	}
	return found[len(found)-1], "../../../bin/tlsfleet"
}

func TestBothContestantsAreMeasured(t *testing.T) {
	t.Parallel()
	var o options
	o.template, o.tlsfleet = tools(t)
	o.names, o.sizes = []string{templateName, tlsfleetName}, []int{5, 20}
	o.changes, o.limit, o.every, o.settle, o.idle = 2, time.Second, 200*time.Millisecond, 0, time.Second
	var got []figure
	if status := lab.Main("change", func(ctx context.Context, p *lab.Program) (err error) {
		got, err = compare(ctx, p, o)
		return err
	}); status != 0 || len(got) != 4 {
		t.Fatalf("compare() = %d figures and status %d, want 4 and 0", len(got), status)
	}
	for _, f := range got {
		if len(f.taken) < 2 || f.bytes == 0 || f.files == 0 || f.rss == 0 || f.cold == 0 || f.served(50) < f.file(50) {
			t.Errorf("figure is %s, want all of it", f)
		}
		if f.who == templateName && f.files != 2*f.n {
			t.Errorf("consul-template writes %d files, want all %d", f.files, 2*f.n)
		}
		// Chain, key, link, shard, head and the record of what is proved, which
		// may be written once more.
		if f.who == tlsfleetName && f.files > 7 {
			t.Errorf("tlsfleet writes %d files at n=%d, want 7 at most", f.files, f.n)
		}
	}
}

func TestJudgeNamesWhatIsNotAsExpected(t *testing.T) {
	t.Parallel()
	of := func(who string, n int, file, cold time.Duration) figure {
		return figure{who: who, n: n, taken: []taken{{file, file}}, bytes: 9000, rss: 50 << 20, cold: cold}
	}
	with := func(change func(*figure)) []figure {
		fs := []figure{
			of(tlsfleetName, 1000, 8*time.Millisecond, time.Second),
			of(templateName, large, 5*time.Second, time.Minute), of(tlsfleetName, large, 10*time.Millisecond, 10*time.Second),
		}
		change(&fs[2])
		return fs
	}
	tests := map[string]struct {
		change func(*figure)
		ok     bool
	}{
		"as expected":     {func(*figure) {}, true},
		"large for few":   {func(f *figure) { f.n, f.rss = small, leanMemory+1 }, false},
		"slow":            {func(f *figure) { f.taken[0].file = 11 * time.Millisecond * 3 / 2 }, false},
		"grown":           {func(f *figure) { f.taken[0].file = 13 * time.Millisecond }, false},
		"many bytes":      {func(f *figure) { f.bytes = mostBytes + 1 }, false},
		"large":           {func(f *figure) { f.rss = mostMemory + 1 }, false},
		"slow start":      {func(f *figure) { f.cold = 21 * time.Second }, false},
		"busy doing none": {func(f *figure) { f.idle = 0.002 }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := judge(with(tt.change)); (err == nil) != tt.ok || err != nil && !errors.Is(err, errSlow) {
				t.Errorf("judge() = %v, want as expected: %v", err, tt.ok)
			}
		})
	}
}

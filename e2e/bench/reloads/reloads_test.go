package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	ours := func(change func(*figure)) []figure {
		f := figure{who: tlsfleetName, reloads: []int{6, 7, 6, 6, 7}, together: 1, during: 68 * time.Second, retrying: tally{sent: 9}, plain: tally{9, 2}}
		change(&f)
		return []figure{{who: templateName, reloads: []int{190, 190, 190, 190, 190}, together: 5, retrying: tally{9, 1}}, f}
	}
	tests := map[string]struct {
		figures []figure
		want    string
	}{
		"as expected":        {ours(func(*figure) {}), ""},
		"too many":           {ours(func(f *figure) { f.reloads[3] = 8 }), "reloaded 8 times in 1m8s, want at most 7"},
		"none":               {ours(func(f *figure) { f.reloads[3] = 0 }), "has not reloaded at all"},
		"at once":            {ours(func(f *figure) { f.together = 2 }), "2 nodes have reloaded at once, want at most 1"},
		"a failed request":   {ours(func(f *figure) { f.retrying.failed = 1 }), "1 of 9 requests that are repeated"},
		"not fewer":          {append(ours(func(*figure) {})[1:], figure{who: templateName, reloads: []int{63}}), "at least 10 times fewer"},
		"nobody to compare":  {ours(func(*figure) {})[1:], ""},
		"the other one only": {ours(func(*figure) {})[:1], ""},
	}
	for name, tt := range tests {
		err := judge(tt.figures)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: judge() = %v, want %q", name, err, tt.want)
		}
	}
}

func TestTogetherCountsNodes(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(node, from, to int) span {
		return span{node, start.Add(time.Duration(from) * time.Second), start.Add(time.Duration(to) * time.Second)}
	}
	tests := map[string]struct {
		spans []span
		want  int
	}{
		"none":                {nil, 0},
		"one after the other": {[]span{at(0, 0, 2), at(1, 2, 3), at(0, 3, 4)}, 1},
		"two":                 {[]span{at(0, 0, 2), at(1, 1, 3), at(2, 2, 4)}, 2},
		"three":               {[]span{at(0, 0, 9), at(1, 1, 3), at(2, 2, 4), at(1, 5, 6)}, 3},
		"a node with itself":  {[]span{at(0, 0, 3), at(0, 1, 2)}, 1},
	}
	for name, tt := range tests {
		if got := together(tt.spans); got != tt.want {
			t.Errorf("%s: together() = %d, want %d", name, got, tt.want)
		}
	}
	if got, want := reloadsOf(tests["three"].spans, 4), []int{1, 2, 1, 0}; !slices.Equal(got, want) {
		t.Errorf("reloadsOf() = %v, want %v", got, want)
	}
}

func TestTailGivesWholeLinesOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	write := func(text string) {
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write("of before\n")
	l, err := openTail(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ add, want string }{{"", ""}, {"a\nb", "a\n"}, {"c", ""}, {"\n", "bc\n"}} {
		write(step.add)
		if got, err := l.lines(); err != nil || string(got) != step.want {
			t.Errorf("lines() after %q = %q, %v, want %q", step.add, got, err, step.want)
		}
	}
	if err := l.file.Close(); err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	if o, err := parse(nil); err != nil || len(o.names) != 2 || o.changes != 200 || o.during != time.Minute || !o.judge {
		t.Errorf("parse() = %+v, %v, want both contestants and 200 changes in a minute", o, err)
	}
	for _, args := range [][]string{{"-contestant", "x"}, {"-changes", "1"}, {"-clients", "0"}, {"-during", "0s"}, {"more"}, {"-x"}} {
		if o, err := parse(args); err == nil {
			t.Errorf("parse(%q) = %+v, want an error", args, o)
		}
	}
}

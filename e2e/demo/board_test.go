package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

func TestBoardRedrawsWhatItDrew(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	b := &board{out: &out, live: true}
	b.say("first")
	if got := out.String(); got != "first\n" {
		t.Errorf("say() before a table printed %q, want the line alone", got)
	}
	status := lab.Status{Nodes: []lab.NodeStatus{{Node: "node1"}, {Node: "node2"}, {Node: "node3"}}}
	b.show(status, []int{1, 2, 3})
	out.Reset()
	b.say("second")
	up := fmt.Sprintf("\x1b[%dA\x1b[J", 10) // two rules, a head, three nodes, four lines of sums
	if got := out.String(); !strings.HasPrefix(got, up+"second\n-----") || strings.Count(got, "\n") != 11 {
		t.Errorf("say() below a table printed %q, want the table erased, the line, the table", got)
	}
}

func TestBoardPrintsLinesWithoutATerminal(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	b := &board{out: &out}
	node := lab.NodeStatus{Node: "node1"}
	node.Report.Names = 9
	b.show(lab.Status{Epoch: 7, Nodes: []lab.NodeStatus{node}}, []int{4})
	b.say("talk")
	if got := out.String(); strings.Count(got, "\n") != 2 || strings.Contains(got, "\x1b") ||
		!strings.Contains(got, "epoch 7") || !strings.Contains(got, "names 9") || !strings.Contains(got, "reloads 4") || !strings.HasSuffix(got, "\ntalk\n") {
		t.Errorf("printed %q, want a line and the talk", got)
	}
}

func TestProgressIsOneLineBelowTheTable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	b := &board{out: &out, live: true}
	b.show(lab.Status{}, nil)
	for i := range 3 {
		out.Reset()
		b.doing(fmt.Sprintf("%d of 3", i))
		if got, want := out.String(), fmt.Sprintf("\n%d of 3\n", i); !strings.HasSuffix(got, want) || strings.Count(got, " of 3") != 1 {
			t.Errorf("doing() printed %q, want it to end with %q", got, want)
		}
	}
	lines := strings.Count(out.String(), "\n")
	out.Reset()
	b.say("done")
	if got := out.String(); !strings.HasPrefix(got, fmt.Sprintf("\x1b[%dA\x1b[Jdone\n", lines)) || strings.Contains(got, " of 3") {
		t.Errorf("say() after progress printed %q, want it gone", got)
	}
	b = &board{out: &out}
	out.Reset()
	b.doing("1 of 3")
	if got := out.String(); got != "1 of 3\n" {
		t.Errorf("doing() without a terminal printed %q, want a line", got)
	}
}

func TestTableFitsATerminal(t *testing.T) {
	t.Parallel()
	node := lab.NodeStatus{Node: "node3", Leader: true}
	node.Report.Applied, node.Report.Proved, node.Report.Release, node.Report.Names = 9999, 9999, 9999, 10001
	b := &board{
		out: &strings.Builder{}, live: true, status: lab.Status{Epoch: 9999, Proved: 1, Serving: 1, Nodes: []lab.NodeStatus{node}}, reloads: []int{9999},
		leaves: []string{"0123456789abcdef"}, tls12: lab.Counts{Resumed: 9_999_999}, tls13: lab.Counts{Resumed: 9_999_999}, certs: lab.Counts{Full: 9_999_999},
		err: errors.New("away"), started: time.Now().Add(-99 * time.Hour),
	}
	for line := range strings.Lines(b.draw()) {
		if got := len(strings.TrimRight(line, "\n")); got > 79 {
			t.Errorf("line of %d columns: %q, want 79 at most", got, line)
		}
	}
}

func TestVerdictIsAnErrorUnlessAllWasKept(t *testing.T) {
	t.Parallel()
	cut := errors.New("cut")
	tests := map[string]struct {
		outcome lab.Outcome
		want    error
	}{
		"kept":   {lab.Resumed, nil},
		"full":   {lab.Full, nil},
		"lost":   {lab.Lost, errLost},
		"broken": {lab.Broken, cut},
	}
	for name, tc := range tests {
		for way, record := range map[string]func(*board, lab.Attempt){
			"tls 1.2":     func(b *board, a lab.Attempt) { a.Version = tls.VersionTLS12; b.record(a) },
			"tls 1.3":     func(b *board, a lab.Attempt) { a.Version = tls.VersionTLS13; b.record(a) },
			"certificate": func(b *board, a lab.Attempt) { b.recordShop(3, a) },
			"site":        func(b *board, a lab.Attempt) { b.recordRequest(a.Err) },
		} {
			if (way == "certificate" || way == "site") && errors.Is(tc.want, errLost) {
				continue // these offer no ticket
			}
			t.Run(name+" "+way, func(t *testing.T) {
				t.Parallel()
				b := &board{out: &strings.Builder{}}
				a := lab.Attempt{Outcome: tc.outcome}
				if tc.outcome == lab.Broken {
					a.Err = cut
				}
				record(b, a)
				if err := b.verdict(); !errors.Is(err, tc.want) {
					t.Errorf("verdict() = %v, want %v", err, tc.want)
				}
			})
		}
	}
}

func TestSomeKeptWantsBothVersions(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		versions []uint16
		want     bool
	}{
		"none": {nil, false},
		"1.2":  {[]uint16{tls.VersionTLS12}, false},
		"1.3":  {[]uint16{tls.VersionTLS13}, false},
		"both": {[]uint16{tls.VersionTLS12, tls.VersionTLS13}, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &board{out: &strings.Builder{}}
			for _, v := range tc.versions {
				b.record(lab.Attempt{Version: v, Outcome: lab.Resumed})
			}
			if err := b.someKept(); (err == nil) != tc.want {
				t.Errorf("someKept() = %v, want it fine: %t", err, tc.want)
			}
		})
	}
}

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"

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
	up := fmt.Sprintf("\x1b[%dA\x1b[J", 8) // two rules, a head, three nodes, two lines of sums
	if got := out.String(); !strings.HasPrefix(got, up+"second\n-----") || strings.Count(got, "\n") != 9 {
		t.Errorf("say() below a table printed %q, want the table erased, the line, the table", got)
	}
}

func TestBoardPrintsLinesWithoutATerminal(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	b := &board{out: &out}
	b.show(lab.Status{Epoch: 7, Nodes: []lab.NodeStatus{{Node: "node1"}}}, []int{4})
	b.say("talk")
	if got := out.String(); strings.Count(got, "\n") != 2 || strings.Contains(got, "\x1b") ||
		!strings.Contains(got, "epoch 7") || !strings.Contains(got, "reloads 4") || !strings.HasSuffix(got, "\ntalk\n") {
		t.Errorf("printed %q, want a line and the talk", got)
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
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				b := &board{out: &strings.Builder{}}
				a := lab.Attempt{Version: version, Outcome: tc.outcome}
				if tc.outcome == lab.Broken {
					a.Err = cut
				}
				b.record(a)
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

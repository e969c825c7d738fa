package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/config"
)

// figure is what one contestant has cost.
type figure struct {
	who      string
	changes  int
	reloads  []int // by node
	together int   // nodes that reloaded at the same time, at most
	retrying tally
	plain    tally
	during   time.Duration // from the first change until all nodes served the last
	converge time.Duration
}

// tally counts requests.
type tally struct{ sent, failed int }

// perNode is the mean number of reloads.
func (f figure) perNode() float64 {
	all := 0
	for _, n := range f.reloads {
		all += n
	}
	return float64(all) / float64(len(f.reloads))
}

// String is the figure's line.
func (f figure) String() string {
	return fmt.Sprintf("bench=reloads who=%s reloads_per_node=%.1f max_at_once=%d failed_retrying=%d failed_plain=%d converge_s=%.1f changes=%d seconds=%.1f requests_retrying=%d requests_plain=%d",
		f.who, f.perNode(), f.together, f.retrying.failed, f.plain.failed, f.converge.Seconds(), f.changes, f.during.Seconds(), f.retrying.sent, f.plain.sent)
}

// errFigure is a figure that is not as expected.
var errFigure = errors.New("not as expected")

// fewer is how many times fewer reloads tlsfleet has to make.
const fewer = 10

// judge names the figures that are not as expected.
func judge(figures []figure) error {
	var errs []error
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%w: %s", errFigure, fmt.Sprintf(format, args...)))
		}
	}
	mean := map[string]float64{}
	for _, f := range figures {
		mean[f.who] = f.perNode()
		if f.who != tlsfleetName {
			continue
		}
		reload := config.Default().Reload
		// One may have been due when the first change came.
		most := int(f.during/reload.MinInterval) + 1
		expect(slices.Max(f.reloads) <= most, "a node has reloaded %d times in %s, want at most %d", slices.Max(f.reloads), f.during.Round(time.Second), most)
		expect(slices.Min(f.reloads) >= 1, "a node has not reloaded at all: what it serves is of another time")
		slots := reload.MaxShare.Of(len(f.reloads))
		expect(f.together <= slots, "%d nodes have reloaded at once, want at most %d", f.together, slots)
		expect(f.retrying.failed == 0, "%d of %d requests that are repeated have failed, want none", f.retrying.failed, f.retrying.sent)
	}
	if other, ours := mean[templateName], mean[tlsfleetName]; other > 0 && ours > 0 {
		expect(other >= fewer*ours, "%.1f reloads a node, want at least %d times fewer than consul-template's %.1f", ours, fewer, other)
	}
	return errors.Join(errs...)
}

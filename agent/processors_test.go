package agent

import (
	"runtime"
	"testing"
)

// TestProcessorsAreUsedByBulkWorkOnly is alone in the process while it runs.
func TestProcessorsAreUsedByBulkWorkOnly(t *testing.T) { //nolint:paralleltest // GOMAXPROCS is the process's
	t.Cleanup(runtime.SetDefaultGOMAXPROCS)
	runtime.SetDefaultGOMAXPROCS()
	all := runtime.GOMAXPROCS(0)
	if all == 1 {
		t.Skip("this machine has one processor")
	}
	check := func(when string, want int) {
		t.Helper()
		if got := runtime.GOMAXPROCS(0); got != want {
			t.Errorf("%s: %d processors, want %d", when, got, want)
		}
	}
	var none *Processors
	none.Use()()
	check("without Processors", all)
	p := new(Processors)
	first, second := p.Use(), p.Use()
	first()
	first() // counts once
	check("while one works", all)
	second()
	check("idle", 1)
	third := p.Use()
	check("at work again", all)
	third()
	check("idle again", 1)
}

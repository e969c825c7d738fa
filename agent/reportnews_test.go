package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func TestReportNews(t *testing.T) {
	t.Parallel()
	report := func(change func(*fleet.Report)) []fleet.Report {
		r := fleet.Report{Node: "a", At: time.Unix(100, 0), Mode: fleet.ModeRing, Applied: 3, Proved: 3, Inventory: 7, Names: 2}
		change(&r)
		return []fleet.Report{r, {Node: "b"}}
	}
	tests := map[string]struct {
		after []fleet.Report
		bad   []store.BadReport
		want  bool
	}{
		"the same":           {after: report(func(*fleet.Report) {})},
		"later":              {after: report(func(r *fleet.Report) { r.At = time.Unix(130, 0) })},
		"inventory followed": {after: report(func(r *fleet.Report) { r.Inventory, r.Names = 8, 3 })},
		"change copied":      {after: report(func(r *fleet.Report) { r.Archives = []fleet.Archive{{Name: "disk"}} })},
		"ring applied":       {after: report(func(r *fleet.Report) { r.Applied = 4 }), want: true},
		"ring proved":        {after: report(func(r *fleet.Report) { r.Proved = 4 }), want: true},
		"problem":            {after: report(func(r *fleet.Report) { r.Problems = []fleet.Problem{{Code: "x"}} }), want: true},
		"node gone":          {after: report(func(*fleet.Report) {})[:1], want: true},
		"refused one":        {after: report(func(*fleet.Report) {}), bad: []store.BadReport{{Node: "c", Err: errors.New("x")}}, want: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n reportNews
			if !n.differs(report(func(*fleet.Report) {}), nil) {
				t.Error("differs(first) = false, want true")
			}
			if got := n.differs(tt.after, tt.bad); got != tt.want {
				t.Errorf("differs() = %v, want %v", got, tt.want)
			}
		})
	}
}

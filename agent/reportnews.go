package agent

import (
	"reflect"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// reportNews tells whether reports say something that the leader decides by.
// The zero value has seen none.
type reportNews struct{ last []fleet.Report }

// differs compares with the reports before. That nodes have followed a change of
// certificates, or that it was copied, is no news: with many nodes and many changes
// the leader would do little else than read all reports again.
func (n *reportNews) differs(good []fleet.Report, bad []store.BadReport) bool {
	now := slices.Clone(good)
	for i := range now {
		now[i].At, now[i].Inventory, now[i].Names, now[i].Resumption, now[i].Archives = time.Time{}, 0, 0, fleet.Resumption{}, nil
	}
	same := n.last != nil && len(bad) == 0 && reflect.DeepEqual(now, n.last)
	n.last = now
	return !same
}

package agent

import (
	"container/heap"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/metrics"
)

// minutes is a time in Unix minutes, which 32 bits hold for 8,000 years; at
// least 1, so that 0 is no time.
func minutes(t time.Time) uint32 {
	return uint32(min(max(t.Unix()/60, 1), 1<<32-1)) //nolint:gosec // bounded
}

// expiries counts the certificates of the inventory by when they end, and names
// the first most of them to do so. It looks at each of them once.
func (d *directory) expiries(now time.Time, most int) (counts map[string]int, soonest []metrics.Expiry) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	limits, found := map[string]uint32{}, map[string]int{}
	for within, span := range metrics.Windows {
		limits[within] = minutes(now.Add(span))
	}
	first := make(latestFirst, 0, most)
	for n := range inventory.Shards {
		for i, end := range d.ends[n] {
			if end == 0 {
				continue
			}
			for within, limit := range limits {
				if end <= limit {
					found[within]++
				}
			}
			first.offer(soonEnd{end, n, i}, most)
		}
	}
	slices.SortFunc(first, func(a, b soonEnd) int { return int(a.end) - int(b.end) })
	for _, e := range first {
		soonest = append(soonest, metrics.Expiry{
			Name: string(d.names.parts[e.shard].name(e.at)), NotAfter: time.Unix(int64(e.end)*60, 0),
		})
	}
	return found, soonest
}

// soonEnd is where the name of a certificate is, and when that ends.
type soonEnd struct {
	end       uint32
	shard, at int
}

// latestFirst keeps those that end first, the last of them on top.
type latestFirst []soonEnd

func (l *latestFirst) offer(e soonEnd, most int) {
	switch {
	case len(*l) < most:
		heap.Push(l, e)
	case most > 0 && e.end < (*l)[0].end:
		(*l)[0] = e
		heap.Fix(l, 0)
	}
}

// Len, Less, Swap, Push and Pop are those of heap.Interface.
func (l latestFirst) Len() int           { return len(l) }
func (l latestFirst) Less(i, j int) bool { return l[i].end > l[j].end }
func (l latestFirst) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }

func (l *latestFirst) Push(x any) {
	if e, ok := x.(soonEnd); ok {
		*l = append(*l, e)
	}
}

func (l *latestFirst) Pop() any {
	last := (*l)[len(*l)-1]
	*l = (*l)[:len(*l)-1]
	return last
}

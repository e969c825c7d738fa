package agent

import (
	"bytes"
	"container/heap"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/status/web"
)

// page is the names that q chooses, sorted. It looks at each name once, in memory
// bounded by the page.
func (d *directory) page(q web.NameQuery) web.NamePage {
	d.mu.RLock()
	defer d.mu.RUnlock()
	match, after := []byte(q.Match), []byte(q.After)
	out := web.NamePage{Names: []web.Name{}}
	first := lastNameFirst{max: q.Limit + 1}
	for n := range inventory.Shards {
		p := &d.names.parts[n]
		for i, end := range d.ends[n] {
			if end == 0 {
				continue
			}
			out.Total++
			name := p.name(i)
			if q.Prefix && !bytes.HasPrefix(name, match) || !bytes.Contains(name, match) {
				continue
			}
			out.Matching++
			if bytes.Compare(name, after) > 0 || q.After == "" {
				first.offer(foundName{name, n, i})
			}
		}
	}
	slices.SortFunc(first.list, func(a, b foundName) int { return bytes.Compare(a.name, b.name) })
	for _, f := range first.list[:min(q.Limit, len(first.list))] {
		name, hash := string(f.name), d.names.parts[f.shard].hashes[f.at]
		barred, ok := d.barred[name]
		out.Names = append(out.Names, web.Name{
			Name: name, NotAfter: time.Unix(int64(d.ends[f.shard][f.at])*60, 0).UTC(), Bundle: hash, Quarantined: ok && barred == hash,
		})
	}
	if len(first.list) > q.Limit {
		out.Next = out.Names[len(out.Names)-1].Name
	}
	return out
}

// endings counts certificates by the span in which they end, from the beginning
// of the day (UTC).
func (d *directory) endings(now time.Time, span time.Duration, spans int) web.Ends {
	from := now.UTC().Truncate(24 * time.Hour)
	out := web.Ends{From: from, Span: int(span.Seconds()), Count: make([]int, spans)}
	begin, each, today := minutes(from), uint32(span.Minutes()), minutes(now)
	d.mu.RLock()
	defer d.mu.RUnlock()
	out.Whole = d.whole
	for n := range inventory.Shards {
		for _, end := range d.ends[n] {
			switch {
			case end == 0:
			case end <= today:
				out.Ended++
			case int((end-begin)/each) < spans:
				out.Count[(end-begin)/each]++
			default:
				out.Later++
			}
		}
	}
	return out
}

// foundName is a name and where it is.
type foundName struct {
	name      []byte
	shard, at int
}

// lastNameFirst keeps the first names, as many as max, the last of them on top.
type lastNameFirst struct {
	list []foundName
	max  int
}

func (l *lastNameFirst) offer(f foundName) {
	switch {
	case len(l.list) < l.max:
		heap.Push(l, f)
	case bytes.Compare(f.name, l.list[0].name) < 0:
		l.list[0] = f
		heap.Fix(l, 0)
	}
}

// Len, Less, Swap, Push and Pop are those of heap.Interface.
func (l *lastNameFirst) Len() int           { return len(l.list) }
func (l *lastNameFirst) Less(i, j int) bool { return bytes.Compare(l.list[i].name, l.list[j].name) > 0 }
func (l *lastNameFirst) Swap(i, j int)      { l.list[i], l.list[j] = l.list[j], l.list[i] }

func (l *lastNameFirst) Push(x any) {
	if f, ok := x.(foundName); ok {
		l.list = append(l.list, f)
	}
}

func (l *lastNameFirst) Pop() any {
	last := l.list[len(l.list)-1]
	l.list = l.list[:len(l.list)-1]
	return last
}

package handlers

import "time"

// Pace says when a reload may happen. Each reload closes every keep-alive
// connection of nginx once, so changes are collected and nodes spread out.
type Pace struct {
	Splay       time.Duration // reloads are spread evenly over this time
	Quiet       time.Duration // wait until nothing changed for so long
	MaxQuiet    time.Duration // but not longer than this after the first change
	MinInterval time.Duration // between two reloads of one node
}

// Due is when to reload for changes that came between first and last, when
// the reload before was at prev (zero: none). u is one random number in [0, 1)
// drawn once for the batch. An urgent change is due when it came.
func (p Pace) Due(first, last, prev time.Time, urgent bool, u float64) time.Time {
	if urgent {
		return last
	}
	due := last.Add(p.Quiet)
	if limit := first.Add(p.MaxQuiet); due.After(limit) {
		due = limit
	}
	due = due.Add(time.Duration(u * float64(p.Splay)))
	if !prev.IsZero() {
		if earliest := prev.Add(p.MinInterval); due.Before(earliest) {
			due = earliest
		}
	}
	return due
}

package issuance

import (
	"container/heap"
	"time"
)

// Schedule says which items are due, at a cost that hardly grows with their
// number. The zero value is empty. It is not safe for concurrent use.
type Schedule struct {
	queue queue
	at    map[string]*entry
}

type entry struct {
	id    string
	time  time.Time
	index int
}

// Set puts an item at a time, whether it was there before or not.
func (s *Schedule) Set(id string, t time.Time) {
	if e, ok := s.at[id]; ok {
		e.time = t
		heap.Fix(&s.queue, e.index)
		return
	}
	if s.at == nil {
		s.at = map[string]*entry{}
	}
	e := &entry{id: id, time: t}
	s.at[id] = e
	heap.Push(&s.queue, e)
}

// Remove takes an item out.
func (s *Schedule) Remove(id string) {
	if e, ok := s.at[id]; ok {
		heap.Remove(&s.queue, e.index)
		delete(s.at, id)
	}
}

// Len is the number of items.
func (s *Schedule) Len() int { return len(s.queue) }

// Next is the time of the first item; ok is false if there is none.
func (s *Schedule) Next() (t time.Time, ok bool) {
	if len(s.queue) == 0 {
		return time.Time{}, false
	}
	return s.queue[0].time, true
}

// Pop takes out the first item if it is due.
func (s *Schedule) Pop(now time.Time) (id string, ok bool) {
	if len(s.queue) == 0 || now.Before(s.queue[0].time) {
		return "", false
	}
	id = s.queue[0].id
	heap.Pop(&s.queue)
	delete(s.at, id)
	return id, true
}

// queue implements heap.Interface.
type queue []*entry

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if !q[i].time.Equal(q[j].time) {
		return q[i].time.Before(q[j].time)
	}
	return q[i].id < q[j].id
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	if e, ok := x.(*entry); ok {
		e.index = len(*q)
		*q = append(*q, e)
	}
}

func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}

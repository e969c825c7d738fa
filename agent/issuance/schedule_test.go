package issuance

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestScheduleAsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Schedule
		want := map[string]time.Time{}
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			id := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "id"))
			now := t0.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "time")) * time.Second)
			switch rapid.IntRange(0, 2).Draw(t, "do") {
			case 0:
				s.Set(id, now)
				want[id] = now
			case 1:
				s.Remove(id)
				delete(want, id)
			default:
				got, ok := s.Pop(now)
				first, some := earliest(want)
				if due := some && !now.Before(want[first]); ok != due || ok && !want[got].Equal(want[first]) {
					t.Fatalf("Pop() = %s, %v, want %s, %v", got, ok, first, due)
				}
				delete(want, got)
			}
			if s.Len() != len(want) {
				t.Fatalf("Len() = %d, want %d", s.Len(), len(want))
			}
		}
	})
}

func earliest(m map[string]time.Time) (id string, ok bool) {
	for k, t := range m {
		if !ok || t.Before(m[id]) {
			id, ok = k, true
		}
	}
	return id, ok
}

package ticket_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

func TestCreate(t *testing.T) {
	keys := freshKeys(t, 2, 1)
	got, err := ticket.Create(ticket.Change{
		Now: day.Add(time.Minute + 5), By: "a", Cause: fleet.CauseCreated, Fresh: keys,
		Skipped: []string{"n2", "n1", "n2"}, Events: []string{"e1"}, MinEpoch: 41,
	})
	if err != nil {
		t.Fatal(err)
	}
	now := day.Add(time.Minute)
	want := fleet.Ring{
		Epoch: 42, Changed: now, Cause: fleet.CauseCreated, By: "a",
		Current: fleet.TicketKey{Raw: keys[0].Raw, Origin: fleet.OriginLeader, Born: now, Promoted: now},
		Next:    fleet.TicketKey{Raw: keys[1].Raw, Origin: fleet.OriginLeader, Born: now},
		Skipped: []string{"n1", "n2"}, Events: []string{"e1"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Create() = %+v, want %+v", got, want)
	}
}

func TestCreateStartsAtEpochOne(t *testing.T) {
	if got := firstRing(t).Epoch; got != 1 {
		t.Errorf("Create().Epoch = %d, want 1", got)
	}
}

func TestRotate(t *testing.T) {
	old := ringOf(t, 1) // keys 2, 3 and previous 1
	old.Promote, old.Emergency, old.Skipped, old.Events = true, true, []string{"n1"}, []string{"e1"}
	c := rotation(t, 4)
	c.Now, c.Events = day.Add(2*time.Hour), []string{"e2"}
	got, err := ticket.Rotate(old, c)
	if err != nil {
		t.Fatal(err)
	}
	key := func(seed uint32, born time.Time, promoted, retired time.Time) fleet.TicketKey {
		return fleet.TicketKey{Raw: secret(80, seed), Origin: fleet.OriginLeader, Born: born, Promoted: promoted, Retired: retired}
	}
	hour := func(n int) time.Time { return day.Add(time.Duration(n) * time.Hour) }
	want := fleet.Ring{
		Epoch: 3, Changed: hour(2), Cause: fleet.CauseSchedule, By: "b", Events: []string{"e1", "e2"},
		Next: key(4, hour(2), time.Time{}, time.Time{}), Current: key(3, hour(1), hour(2), time.Time{}),
		Previous: []fleet.TicketKey{key(2, day, hour(1), hour(2)), key(1, day, day, hour(1))},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Rotate() = %+v, want %+v", got, want)
	}
}

func TestRotateDropsBeyondKeep(t *testing.T) {
	old := ringOf(t, 4) // 5, 6 and previous 4 3 2 1
	for keep, want := range map[int][]uint32{
		1: {6, 7, 5}, 3: {6, 7, 5, 4, 3}, 5: {6, 7, 5, 4, 3, 2, 1}, 30: {6, 7, 5, 4, 3, 2, 1},
	} {
		c := rotation(t, 7)
		c.Keep = keep
		got, err := ticket.Rotate(old, c)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(seeds(got), want) {
			t.Errorf("Rotate(keep %d) has keys %v, want %v", keep, seeds(got), want)
		}
	}
}

func TestRotateNeverExceedsMaxRingKeys(t *testing.T) {
	if got := len(ringOf(t, 40).Members()); got != fleet.MaxRingKeys {
		t.Errorf("ring after 40 rotations has %d keys, want %d", got, fleet.MaxRingKeys)
	}
}

func TestRotateWithClockBehind(t *testing.T) {
	c := rotation(t, 3)
	c.Now = day.Add(-time.Hour)
	got, err := ticket.Rotate(firstRing(t), c)
	if err != nil {
		t.Fatal(err)
	}
	if got.Changed != day || got.Next.Born != day || got.Previous[0].Retired != day {
		t.Errorf("Rotate(an hour earlier) = changed %v, born %v, retired %v, want %v",
			got.Changed, got.Next.Born, got.Previous[0].Retired, day)
	}
}

func TestChangesLeaveTheOldRingAlone(t *testing.T) {
	old := ringOf(t, 3)
	old.Events = append(make([]string, 0, 8), "e1")
	old.Previous = slices.Grow(old.Previous, 8)
	before, err := ticket.Encode(old)
	if err != nil {
		t.Fatal(err)
	}
	c := rotation(t, 9)
	c.Events, c.Skipped = []string{"e2"}, []string{"z", "a"}
	if _, err := ticket.Rotate(old, c); err != nil {
		t.Fatal(err)
	}
	if _, err := ticket.Adopt(old, secret(48, 50), fleet.OriginFile, c); err != nil {
		t.Fatal(err)
	}
	after, err := ticket.Encode(old)
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) || old.Events[:2][1] != "" || !old.Previous[:4][3].IsZero() {
		t.Error("a change wrote to the ring it was given")
	}
	if c.Skipped[0] != "z" {
		t.Errorf("Skipped of the change = %v, want it as given", c.Skipped)
	}
}

func TestEmergency(t *testing.T) {
	old := ringOf(t, 3)
	old.Promote, old.Events = true, []string{"e1"}
	c := rotation(t, 0)
	c.Cause, c.Fresh, c.Now = fleet.CauseEmergency, freshKeys(t, 2, 20), day.Add(9*time.Hour)
	c.Skipped, c.Events = []string{"n9"}, []string{"e2"}
	for min, want := range map[uint64]uint64{0: 5, 4: 5, 90: 91} {
		c.MinEpoch = min
		got, err := ticket.Emergency(old, c)
		if err != nil {
			t.Fatal(err)
		}
		if got.Epoch != want || !got.Emergency || got.Promote || got.Cause != fleet.CauseEmergency {
			t.Errorf("Emergency(min epoch %d) = epoch %d, emergency %t, promote %t, %q, want %d, true, false, emergency",
				min, got.Epoch, got.Emergency, got.Promote, got.Cause, want)
		}
		if !slices.Equal(seeds(got), []uint32{20, 21}) {
			t.Errorf("Emergency() has keys %v, want 20 and 21 only", seeds(got))
		}
		if !slices.Equal(got.Events, []string{"e1", "e2"}) || !slices.Equal(got.Skipped, []string{"n9"}) {
			t.Errorf("Emergency() = events %v, skipped %v, want [e1 e2], [n9]", got.Events, got.Skipped)
		}
	}
}

func TestChangesRefuse(t *testing.T) {
	ring, broken := ringOf(t, 2), ringOf(t, 2)
	broken.Previous[1] = broken.Previous[0]
	last := ringOf(t, 2)
	last.Epoch = math.MaxUint64
	change := func(edit func(*ticket.Change)) ticket.Change {
		c := rotation(t, 30)
		edit(&c)
		return c
	}
	same := func(*ticket.Change) {}
	tests := map[string]struct {
		ring   fleet.Ring
		change ticket.Change
		want   string
	}{
		"broken ring":     {broken, change(same), "both named"},
		"last epoch":      {last, change(same), "no epoch is left"},
		"last min epoch":  {ring, change(func(c *ticket.Change) { c.MinEpoch = math.MaxUint64 }), "no epoch is left"},
		"keep 0":          {ring, change(func(c *ticket.Change) { c.Keep = 0 }), "keep 0"},
		"keep 31":         {ring, change(func(c *ticket.Change) { c.Keep = 31 }), "keep 31"},
		"no fresh key":    {ring, change(func(c *ticket.Change) { c.Fresh = nil }), "0 fresh keys given, want 1"},
		"two fresh keys":  {ring, change(func(c *ticket.Change) { c.Fresh = freshKeys(t, 2, 30) }), "2 fresh keys given, want 1"},
		"fresh is zero":   {ring, change(func(c *ticket.Change) { c.Fresh = make([]fleet.TicketKey, 1) }), "next key: missing"},
		"fresh is in use": {ring, change(func(c *ticket.Change) { c.Fresh = freshKeys(t, 1, 1) }), "key is in the ring as previous"},
		"unknown cause":   {ring, change(func(c *ticket.Change) { c.Cause = "whim" }), `unknown cause "whim"`},
		"huge name":       {ring, change(func(c *ticket.Change) { c.By = string(make([]byte, 1<<20)) }), "1048576 bytes"},
		"bad node":        {ring, change(func(c *ticket.Change) { c.Skipped = []string{"a/b"} }), "skipped nodes"},
		"bad event":       {ring, change(func(c *ticket.Change) { c.Events = []string{""} }), "events"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := ticket.Rotate(tt.ring, tt.change)
			wantError(t, "Rotate()", err, err, tt.want)
			if err == nil || r.Epoch != 0 {
				t.Errorf("Rotate() = epoch %d, %v, want no ring and an error", r.Epoch, err)
			}
		})
	}
}

func TestReplacingRefusesWrongFreshKeys(t *testing.T) {
	ring := ringOf(t, 2)
	c := rotation(t, 30)
	if _, err := ticket.Create(c); err == nil {
		t.Error("Create(one fresh key) = nil, want an error")
	}
	if _, err := ticket.Emergency(ring, c); err == nil {
		t.Error("Emergency(one fresh key) = nil, want an error")
	}
	c.Fresh = slices.Repeat(freshKeys(t, 1, 30), 2)
	if _, err := ticket.Create(c); !errors.Is(err, ticket.ErrRing) {
		t.Errorf("Create(the same key twice) = %v, want ErrRing", err)
	}
	c.Fresh = freshKeys(t, 2, 4)
	if _, err := ticket.Emergency(ring, c); !errors.Is(err, ticket.ErrInUse) {
		t.Errorf("Emergency(a key of the ring) = %v, want ErrInUse", err)
	}
}

func TestEventsKeepTheNewest(t *testing.T) {
	ids := func(from, to int) []string {
		var s []string
		for i := from; i < to; i++ {
			s = append(s, fmt.Sprintf("e%d", i))
		}
		return s
	}
	tests := map[string]struct{ old, add, want []string }{
		"none":             {nil, nil, nil},
		"append":           {ids(0, 2), ids(2, 4), ids(0, 4)},
		"duplicate is new": {ids(0, 3), ids(0, 1), []string{"e1", "e2", "e0"}},
		"twice at once":    {nil, []string{"a", "b", "a"}, []string{"b", "a"}},
		"overflow":         {ids(0, 256), ids(256, 258), ids(2, 258)},
		"too many at once": {nil, ids(0, 300), ids(44, 300)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			old := firstRing(t)
			old.Events = tt.old
			c := rotation(t, 9)
			c.Events = tt.add
			got, err := ticket.Rotate(old, c)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Events, tt.want) {
				t.Errorf("Events = %v, want %v", got.Events, tt.want)
			}
		})
	}
}

func TestSkippedIsBounded(t *testing.T) {
	c := rotation(t, 9)
	for i := range 600 {
		c.Skipped = append(c.Skipped, fmt.Sprintf("n%03d", 599-i))
	}
	got, err := ticket.Rotate(firstRing(t), c)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Skipped); n != fleet.MaxNodes || got.Skipped[0] != "n000" || got.Skipped[n-1] != "n511" {
		t.Errorf("Skipped = %d nodes, want the first %d in order", n, fleet.MaxNodes)
	}
}

// TestRotateKeepsKeysWhoseTicketsMayCome rotates much faster than Keep counts
// on: every ticket that is not older than KeepFor must still be opened.
func TestRotateKeepsKeysWhoseTicketsMayCome(t *testing.T) {
	const keepFor, pace = 10 * time.Minute, time.Minute
	now := time.Unix(1_700_000_000, 0).UTC()
	ring, err := ticket.Create(ticket.Change{Now: now, By: "a", Cause: fleet.CauseCreated, Fresh: freshKeys(t, 2, 1)})
	if err != nil {
		t.Fatal(err)
	}
	sealed := map[fleet.KeyName]time.Time{} // when the key last sealed
	for i := range 40 {
		now = now.Add(pace)
		sealed[ring.Current.Name()] = now
		c := ticket.Change{Now: now, By: "a", Cause: fleet.CauseCLI, Fresh: freshKeys(t, 1, uint32(10+i)), Keep: 2, KeepFor: keepFor}
		if ring, err = ticket.Rotate(ring, c); err != nil {
			t.Fatal(err)
		}
		held := map[fleet.KeyName]bool{}
		for _, m := range ring.Members() {
			held[m.Key.Name()] = true
		}
		for name, last := range sealed {
			if now.Sub(last) < keepFor && !held[name] {
				t.Fatalf("rotation %d: the key that sealed until %v ago is gone, want it for %v", i, now.Sub(last), keepFor)
			}
		}
		if most := int(keepFor/pace) + 1; len(ring.Previous) > most {
			t.Fatalf("rotation %d: %d previous keys, want at most %d", i, len(ring.Previous), most)
		}
	}
}

func TestRotateRefusesToDropKeysThatTicketsNeed(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).UTC()
	ring, err := ticket.Create(ticket.Change{Now: now, By: "a", Cause: fleet.CauseCreated, Fresh: freshKeys(t, 2, 1)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range fleet.MaxRingKeys {
		now = now.Add(time.Second)
		c := ticket.Change{Now: now, By: "a", Cause: fleet.CauseCLI, Fresh: freshKeys(t, 1, uint32(10+i)), Keep: 2, KeepFor: time.Hour}
		var next fleet.Ring
		if next, err = ticket.Rotate(ring, c); err != nil {
			break
		}
		ring = next
	}
	if !errors.Is(err, ticket.ErrFull) || len(ring.Previous) != fleet.MaxRingKeys-2 {
		t.Fatalf("Rotate() = %v with %d previous keys, want ErrFull with %d", err, len(ring.Previous), fleet.MaxRingKeys-2)
	}
	c := ticket.Change{Now: now.Add(time.Hour), By: "a", Cause: fleet.CauseCLI, Fresh: freshKeys(t, 1, 200), Keep: 2, KeepFor: time.Hour}
	if ring, err = ticket.Rotate(ring, c); err != nil || len(ring.Previous) != 2 {
		t.Errorf("Rotate() an hour later = %v with %d previous keys, want 2", err, len(ring.Previous))
	}
}

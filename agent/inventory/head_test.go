package inventory_test

import (
	"math"
	"slices"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

func with(tb testing.TB, h inventory.Head, shard int, epoch uint64, delta int) inventory.Head {
	tb.Helper()
	h, err := h.With(inventory.Shard{Number: shard, Epoch: epoch}, delta)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func TestHeadWith(t *testing.T) {
	first := with(t, inventory.Head{}, 3, 1, 2)
	both := with(t, with(t, first, 1023, 4, 3), 0, 4, -1)
	if both.Epoch != 4 || both.Names != 4 || both.Shards[3] != 1 || both.Shards[1023] != 4 || both.Shards[0] != 4 {
		t.Errorf("With() = epoch %d, %d names, want epoch 4, 4 names", both.Epoch, both.Names)
	}
	if first.Epoch != 1 || first.Shards[0] != 0 || first.Names != 2 {
		t.Error("With() changed its head")
	}
}

func TestHeadWithRefuses(t *testing.T) {
	h := with(t, with(t, inventory.Head{}, 3, 5, 2), 4, 6, 0)
	tests := map[string]struct {
		shard, delta int
		epoch        uint64
		want         error
	}{
		"no such shard":   {inventory.Shards, 0, 7, inventory.ErrHead},
		"negative shard":  {-1, 0, 7, inventory.ErrHead},
		"same epoch":      {4, 0, 6, inventory.ErrEpoch},
		"older than head": {5, 0, 5, inventory.ErrEpoch},
		"epoch 0":         {5, 0, 0, inventory.ErrEpoch},
		"beyond epochs":   {5, 0, inventory.MaxEpoch + 1, inventory.ErrEpoch},
		"fewer than none": {5, -3, 7, inventory.ErrHead},
		"too many names":  {5, 3*inventory.MaxEntries - 1, 7, inventory.ErrHead},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := h.With(inventory.Shard{Number: tt.shard, Epoch: tt.epoch}, tt.delta)
			wantError(t, "With()", err, tt.want, "head at epoch 6")
			if got != (inventory.Head{}) {
				t.Errorf("With() = epoch %d with an error, want no head", got.Epoch)
			}
		})
	}
}

func TestChangedAndRegressed(t *testing.T) {
	have := with(t, with(t, with(t, inventory.Head{}, 1, 1, 1), 2, 2, 1), 1023, 3, 1)
	want := with(t, with(t, have, 2, 4, 0), 7, 5, 1)
	if got := inventory.Changed(have, want); !slices.Equal(got, []int{2, 7}) {
		t.Errorf("Changed() = %v, want [2 7]", got)
	}
	if got := inventory.Changed(inventory.Head{}, want); !slices.Equal(got, []int{1, 2, 7, 1023}) {
		t.Errorf("Changed(nothing) = %v, want every written shard", got)
	}
	if got := inventory.Regressed(have, want); got != nil {
		t.Errorf("Regressed(newer) = %v, want none", got)
	}
	if got := inventory.Regressed(want, have); !slices.Equal(got, []int{2, 7}) {
		t.Errorf("Regressed(older) = %v, want [2 7]", got)
	}
	if got := inventory.Changed(want, want); got != nil {
		t.Errorf("Changed(same) = %v, want none", got)
	}
}

func TestHeldBack(t *testing.T) {
	tests := map[string]struct {
		before, after int
		share         float64
		want          bool
	}{
		"lost 90 %":         {100_000, 10_000, 0.5, true},
		"lost all":          {10, 0, 0.5, true},
		"lost the share":    {10, 5, 0.5, false},
		"a little more":     {10, 4, 0.5, true},
		"nothing lost":      {10, 10, 0, false},
		"grown":             {10, 20, 0, false},
		"first names":       {0, 5, 0, false},
		"any loss":          {100_000, 99_999, 0, true},
		"told":              {10, 0, 1, false},
		"not a number":      {10, 9, math.NaN(), true},
		"negative share":    {10, 9, -1, true},
		"grown, no number":  {10, 11, math.NaN(), false},
		"unchanged, no num": {10, 10, math.NaN(), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := inventory.HeldBack(tt.before, tt.after, tt.share); got != tt.want {
				t.Errorf("HeldBack(%d, %d, %g) = %t, want %t", tt.before, tt.after, tt.share, got, tt.want)
			}
		})
	}
}

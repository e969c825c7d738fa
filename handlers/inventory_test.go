package handlers

import (
	"errors"
	"slices"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

func head(epoch uint64, names int, shards map[int]uint64) inventory.Head {
	h := inventory.Head{Epoch: epoch, Names: names}
	for n, e := range shards {
		h.Shards[n] = e
	}
	return h
}

func TestPlanHead(t *testing.T) {
	have := head(7, 100, map[int]uint64{1: 5, 2: 7})
	tests := map[string]struct {
		want  inventory.Head
		loss  float64
		fetch []int
		err   error
	}{
		"the same":              {have, 0.5, nil, nil},
		"one shard moved":       {head(8, 100, map[int]uint64{1: 8, 2: 7}), 0.5, []int{1}, nil},
		"a new shard":           {head(8, 101, map[int]uint64{1: 5, 2: 7, 9: 8}), 0.5, []int{9}, nil},
		"older":                 {head(6, 100, map[int]uint64{1: 5, 2: 6}), 0.5, nil, ErrOlderInventory},
		"newer, one shard back": {head(9, 100, map[int]uint64{1: 9, 2: 6}), 0.5, nil, ErrOlderInventory},
		"most names gone":       {head(8, 10, map[int]uint64{1: 8, 2: 7}), 0.5, nil, ErrHeldBack},
		"most gone, and told":   {head(8, 10, map[int]uint64{1: 8, 2: 7}), 1, []int{1}, nil},
		"half gone":             {head(8, 50, map[int]uint64{1: 8, 2: 7}), 0.5, []int{1}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := PlanHead(have, tt.want, tt.loss)
			if !errors.Is(err, tt.err) || (err != nil) != (tt.err != nil) || !slices.Equal(got, tt.fetch) {
				t.Errorf("PlanHead() = %v, %v, want %v, %v", got, err, tt.fetch, tt.err)
			}
		})
	}
	if _, err := PlanHead(head(1, 3, nil), head(2, 0, nil), 0.5); err != nil {
		t.Errorf("PlanHead() of a small fleet = %v, want no hold", err)
	}
}

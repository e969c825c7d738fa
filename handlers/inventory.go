package handlers

import (
	"errors"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

var (
	// ErrOlderInventory means that KV holds an inventory older than the one
	// this node follows: a restored snapshot or a replayed record.
	ErrOlderInventory = errors.New("inventory is older than the one this node follows")
	// ErrHeldBack means that the inventory lost more names at once than the
	// configuration lets go without a person.
	ErrHeldBack = errors.New("inventory lost too many names at once")
)

// fewNames is how many names a node must have before a loss is held back: in
// a small fleet taking away most of them is everyday work.
const fewNames = 10

// PlanHead lists the shards that a node has to fetch to follow want, when it
// has have. maxLoss is the share of names, 0 to 1, that may go at once. The
// error wraps ErrOlderInventory or ErrHeldBack; the node then keeps what it has.
func PlanHead(have, want inventory.Head, maxLoss float64) ([]int, error) {
	if back := inventory.Regressed(have, want); want.Epoch < have.Epoch || len(back) > 0 {
		return nil, fmt.Errorf("%w: epoch %d in Consul, %d followed, %d shards went back", ErrOlderInventory, want.Epoch, have.Epoch, len(back))
	}
	if have.Names >= fewNames && inventory.HeldBack(have.Names, want.Names, maxLoss) {
		return nil, fmt.Errorf("%w: from %d to %d names, max_loss is %g", ErrHeldBack, have.Names, want.Names, maxLoss)
	}
	return inventory.Changed(have, want), nil
}

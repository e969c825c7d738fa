package agent

import (
	"context"
	"time"
)

// isDue reports whether the change that waits may be carried out. What others
// add to it while it waits for its turn does not put it off.
func (f *follower) isDue(ctx context.Context) bool {
	switch {
	case f.change == nil:
		f.endTurn()
		return false
	case f.turn != nil && !f.change.release.Urgent:
		return f.turn.hasCome()
	case time.Now().Before(f.change.due):
		return false
	case f.change.release.Urgent || !f.renderer.Running(ctx):
		f.endTurn()
		return true
	}
	f.turn = f.slots.ask(ctx)
	return false
}

// turnCome is closed when this node may reload; nil if it does not wait for that.
func (f *follower) turnCome() <-chan struct{} {
	if f.turn == nil {
		return nil
	}
	return f.turn.come
}

// endTurn lets other nodes reload.
func (f *follower) endTurn() {
	if f.turn != nil {
		f.turn.over()
		f.turn = nil
	}
}

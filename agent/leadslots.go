package agent

import (
	"context"
	"errors"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// limitReloads writes how many of the nodes in service may reload at once. Not
// being able to do so is no reason to leave the ring alone: the nodes go by what
// is there, or one by one.
func (l *lead) limitReloads(ctx context.Context, session string, nodes []fleet.Node) error {
	serving := 0
	for _, n := range nodes {
		if n.InService() {
			serving++
		}
	}
	err := l.store.PutSlotLimit(ctx, store.SlotLimit{Slots: l.maxShare.Of(serving), All: l.maxShare.Whole()}, session)
	switch {
	case err == nil || ctx.Err() != nil:
		l.problems.replace("limit")
		return nil
	case errors.Is(err, store.ErrFenced):
		return err
	}
	l.log.Warn("limit of reloads not written", "err", err)
	l.problems.replace("limit", fleet.Problem{
		Code: "reload-limit-unwritten", Severity: fleet.Warning, Message: err.Error(),
		Hint: "give the token of each node that may lead the rules that tlsfleet policy prints",
	})
	return nil
}

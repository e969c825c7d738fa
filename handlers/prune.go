package handlers

import (
	"fmt"
	"slices"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// PruneBlocked says why tombstones of the inventory have to stay for now: a
// node in service that has not followed it up to this epoch, or that still has
// files of removed names. Empty: they may go.
func PruneBlocked(epoch uint64, nodes []fleet.Node, reports []fleet.Report) string {
	inService := 0
	for _, n := range nodes {
		if !n.InService() {
			continue
		}
		inService++
		i := slices.IndexFunc(reports, func(r fleet.Report) bool { return r.Node == n.Name })
		switch {
		case i < 0:
			return n.Name + " does not report"
		case reports[i].Inventory < epoch:
			return fmt.Sprintf("%s follows epoch %d, not %d", n.Name, reports[i].Inventory, epoch)
		case slices.ContainsFunc(reports[i].Problems, leavesFiles):
			return n.Name + " still has files of names that were removed"
		}
	}
	if inService == 0 {
		return "no node is in service"
	}
	return ""
}

// leavesFiles reports whether a node with the problem may have names to drop.
func leavesFiles(p fleet.Problem) bool {
	return p.Code == "certificates-held" || p.Code == "certificates-unwritten"
}

package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// CertificateRemoval is what a removal did, or would do.
type CertificateRemoval struct {
	Epoch   uint64              `json:"epoch,omitempty"` // of the inventory
	Removed []CertificateStatus `json:"removed"`         // by name
	Gone    []string            `json:"gone"`            // had been removed before
}

// PlanRemoval says what RemoveCertificates would do, and refuses what it
// would. Names are taken as typed; a wildcard stands for itself only.
func (c *Console) PlanRemoval(ctx context.Context, names []string) (CertificateRemoval, error) {
	r := CertificateRemoval{Removed: []CertificateStatus{}, Gone: []string{}}
	var stored []string
	for _, name := range names {
		s, err := inventory.Normalize(name)
		if err != nil {
			return r, err
		}
		stored = append(stored, s)
	}
	slices.Sort(stored)
	stored = slices.Compact(stored)
	if err := c.checkMeta(ctx); err != nil {
		return r, err
	}
	entries, bad, err := c.lookup(ctx, stored)
	if err != nil {
		return r, err
	}
	if err := partial(bad); err != nil {
		return r, err
	}
	var unknown []string
	for _, name := range stored {
		switch e, found := entries[name]; {
		case !found:
			unknown = append(unknown, name)
		case e.Removed:
			r.Gone = append(r.Gone, name)
		default:
			r.Removed = append(r.Removed, statusOf(e))
		}
	}
	if len(unknown) > 0 {
		return r, fmt.Errorf("remove certificates: %s: %w", strings.Join(unknown, " "), ErrUnknownCertificate)
	}
	return r, nil
}

// RemoveCertificates takes the names out of the inventory, so that every node
// stops serving them: all of them, or none if one is unknown
// (ErrUnknownCertificate) or no name (fleet.ErrDomain). Names that were removed
// before are no error.
func (c *Console) RemoveCertificates(ctx context.Context, names []string) (CertificateRemoval, error) {
	r, err := c.PlanRemoval(ctx, names)
	if err != nil || len(r.Removed) == 0 {
		return r, err
	}
	e := store.Edit{Now: time.Now()}
	for _, s := range r.Removed {
		e.Remove = append(e.Remove, s.Name)
	}
	done, err := c.store.EditInventory(ctx, e, "", nil)
	r.Epoch = done.Epoch
	if err != nil {
		return c.removed(ctx, r, err)
	}
	return r, nil
}

// removed leaves only those in r that are out although the edit failed.
func (c *Console) removed(ctx context.Context, r CertificateRemoval, cause error) (CertificateRemoval, error) {
	var names []string
	for _, s := range r.Removed {
		names = append(names, s.Name)
	}
	entries, _, err := c.lookup(ctx, names)
	if err != nil {
		r.Removed = nil
		return r, cause
	}
	r.Removed = slices.DeleteFunc(r.Removed, func(s CertificateStatus) bool {
		e, found := entries[s.Name]
		return !found || !e.Removed
	})
	return r, cause
}

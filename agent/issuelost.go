package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// past is what a node knows of its fleet, whatever is in Consul now.
type past struct {
	thumbprint string // that challenges are answered with here; empty: none
	inventory  uint64 // epoch followed; 0: none
}

// errAccountLost means that Consul has lost the fleet's ACME account. A new one
// would take the place of that which a copy has, and whoever adds the names
// again would have all their certificates ordered again.
var errAccountLost = errors.New("the fleet's ACME account is gone from Consul")

// lost is why a fleet without an account in Consul is no new one; nil if it is.
func (t *term) lost(ctx context.Context) error {
	if t.past == nil {
		return nil
	}
	own := t.past()
	if own.thumbprint != "" {
		return fmt.Errorf("%w: challenges are answered with thumbprint %s", errAccountLost, own.thumbprint)
	}
	_, err := t.store.Head(ctx)
	if !errors.Is(err, store.ErrMissing) {
		return err
	}
	if own.inventory > 0 {
		return fmt.Errorf("%w: this node follows epoch %d of an inventory that is not there", errAccountLost, own.inventory)
	}
	reports, _, err := t.store.Reports(ctx)
	if err != nil {
		return err
	}
	for _, r := range reports {
		if r.Inventory > 0 {
			return fmt.Errorf("%w: %s follows epoch %d of an inventory that is not there", errAccountLost, r.Node, r.Inventory)
		}
	}
	return nil
}

// issuanceProblem is why no certificate is obtained.
func issuanceProblem(err error) fleet.Problem {
	if errors.Is(err, errAccountLost) {
		return fleet.Problem{
			Code: "account-missing", Severity: fleet.Alarm, Message: err.Error() + "; nothing is obtained or renewed",
			Hint: "put a copy back with tlsfleet restore-fleet; if there is none, tlsfleet domain new-account",
		}
	}
	return fleet.Problem{
		Code: "issuance-broken", Severity: fleet.Alarm, Message: err.Error(),
		Hint: "no certificate is obtained or renewed until it goes on",
	}
}

// ErrAccount means that the fleet has an ACME account.
var ErrAccount = errors.New("the fleet has an ACME account")

// NewAccount makes the fleet's ACME account, where Consul has lost the one before
// and no copy is left. ErrAccount if there is one, whether it can be read or not.
func (c *Copies) NewAccount(ctx context.Context) error {
	_, err := c.store.Account(ctx)
	if err == nil || errors.Is(err, store.ErrRecord) {
		return errors.Join(ErrAccount, err)
	}
	if !errors.Is(err, store.ErrMissing) {
		return err
	}
	key, err := issuer.NewAccountKey()
	if err != nil {
		return err
	}
	_, err = c.store.PutAccount(ctx, issuance.Account{Key: key}, 0, "")
	if errors.Is(err, store.ErrConflict) {
		err = errors.Join(ErrAccount, err)
	}
	return err
}

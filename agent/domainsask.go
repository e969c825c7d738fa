package agent

import (
	"context"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// AddDomains asks for certificates: one for each wish, whose names may be in any
// form that inventory.Normalize takes. A wish that is asked for already changes
// nothing. *RefusedError, and nothing is asked for, if one of them cannot be used
// (fleet.ErrDomain, issuance.ErrItem, issuance.ErrProfile, issuer.ErrWildcard,
// ErrTakenDomain in the same list); one that has a name of another certificate is
// left out, with ErrTakenDomain, and all others are taken. progress, if not nil, is
// told how many a leader has taken. It returns when all of them are, or with
// ErrNoLeader; then they stay in the queue.
func (c *Console) AddDomains(ctx context.Context, wishes []issuance.Wish, by string, progress func(done, total int)) error {
	wishes, err := usableWishes(wishes, chooser(c.cfg), profileNames(c.cfg))
	if err != nil {
		return err
	}
	if err := c.ask(ctx, issuance.Add, wishes, by, progress); err != nil {
		return err
	}
	refused, err := c.missing(ctx, wishes)
	if err == nil && len(refused) > 0 {
		err = fmt.Errorf("add %s: %w", fewNames(refused), ErrTakenDomain)
	}
	return err
}

// missing are the names of wishes that no leader has made an item of.
func (c *Console) missing(ctx context.Context, wishes []issuance.Wish) ([]string, error) {
	ids := make([]string, len(wishes))
	for i, w := range wishes {
		ids[i] = issuance.ID(w.Names)
	}
	known, err := c.store.HasItems(ctx, ids)
	if err != nil {
		return nil, err
	}
	var names []string
	for i, w := range wishes {
		if !known[ids[i]] {
			names = append(names, w.Names...)
		}
	}
	return names, nil
}

// EndDomains stops obtaining the certificates of names. Without keep their names
// are not served any more either, as far as what serves them was obtained here.
// Errors as DomainsOf; then nothing is done.
func (c *Console) EndDomains(ctx context.Context, names []string, keep bool, by string) error {
	do := issuance.Remove
	if keep {
		do = issuance.Forget
	}
	items, err := c.askNamed(ctx, do, names, by)
	if err != nil {
		return err
	}
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.ID()
	}
	left, err := c.store.HasItems(ctx, ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if left[id] {
			return fmt.Errorf("%s %s: the leader could not: %w", do, items[i], ErrPartial)
		}
	}
	return nil
}

// RetryDomains gives certificates that wait or are parked another chance now; in
// other states they are left alone. Errors as DomainsOf; then nothing is done.
func (c *Console) RetryDomains(ctx context.Context, names []string, by string) error {
	_, err := c.askNamed(ctx, issuance.Retry, names, by)
	return err
}

// RenewDomains renews certificates now, whatever the CA has suggested; those that
// are not issued are left alone. Errors as DomainsOf; then nothing is done.
func (c *Console) RenewDomains(ctx context.Context, names []string, by string) error {
	_, err := c.askNamed(ctx, issuance.Renew, names, by)
	return err
}

// askNamed asks for something to be done with certificates that there are, and
// returns them.
func (c *Console) askNamed(ctx context.Context, do issuance.Verb, names []string, by string) ([]issuance.Item, error) {
	items, err := c.itemsOf(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("%s %w", do, err)
	}
	wishes := make([]issuance.Wish, len(items))
	for i, it := range items {
		wishes[i] = issuance.Wish{Names: it.Names}
	}
	return items, c.ask(ctx, do, wishes, by, nil)
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// stagingAfter is how many failures in a row send a certificate to staging first.
const stagingAfter = 3

// stagingLimits are those of Let's Encrypt's staging
// (https://letsencrypt.org/docs/staging-environment/, 2026).
var stagingLimits = issuance.Limits{
	Orders: issuance.Limit{Count: 1500, Per: 3 * time.Hour}, Failures: issuance.Limit{Count: 200, Per: time.Hour},
}

// stagingName names the staging of a CA in the journal and in its ledger. No CA of
// the configuration can have such a name.
func stagingName(ca string) string { return ca + "/staging" }

// ca is a CA, or the staging of one, by its name.
func (r issueRules) ca(name string) (issuer.CA, bool) {
	for _, ca := range r.cas {
		if ca.Name == name {
			return ca, true
		}
	}
	for _, ca := range r.stagings {
		if ca.Name == name {
			return ca, true
		}
	}
	return issuer.CA{}, false
}

// staged reports whether a failure happened at the staging of a CA.
func (r issueRules) staged(f *issuance.Failure) bool {
	if f == nil {
		return false
	}
	for _, ca := range r.stagings {
		if ca.Name == f.CA {
			return true
		}
	}
	return false
}

// stagings are the budgets of the stagings, which attempts share.
type stagings struct {
	mu      sync.Mutex
	ledgers map[string]*issuance.Ledger
}

// rehearse has a certificate that failed again and again, or was parked, obtained from the
// staging of a CA, and thrown away, before that CA is asked. Staging that is down
// is passed over at the next attempt: it holds nothing back for ever.
func (t *term) rehearse(ctx context.Context, o outcome, ca issuer.CA) outcome {
	staging, ok := t.rules.stagings[ca.Name]
	last := o.item.Failed.Last
	often := o.item.Failed.Count >= stagingAfter || o.item.State == issuance.Parked
	if !ok || !often || last.CA == staging.Name && last.Class == issuance.CADown {
		return o
	}
	room, err := t.stagingRoom(ctx, o.item, staging)
	if err != nil {
		o.err = err
		return o
	}
	if wait := room.Sub(t.now()); wait > 0 {
		return t.fail(ctx, o, staging.Name, &issuer.Problem{
			Status: http.StatusTooManyRequests, Type: "rateLimited", RetryAfter: wait, Detail: "the limits of staging are used up",
		})
	}
	err = t.tryStaging(ctx, o.item, staging)
	switch {
	case err == nil:
		t.log.Info("obtained from staging, asking the CA", "names", o.item.String(), "ca", ca.Name)
		return o
	case errors.Is(err, errConsul), errors.Is(err, issuer.ErrPublish):
		o.err = err
		return o
	default:
		return t.fail(ctx, o, staging.Name, err)
	}
}

// tryStaging obtains a certificate that nobody keeps.
func (t *term) tryStaging(ctx context.Context, it issuance.Item, staging issuer.CA) error {
	order, err := issuer.NewOrder(it, staging.Name)
	if err != nil {
		return err
	}
	it.Order = &order
	forgotten := func(string) error { return nil }
	_, client, err := t.ask(ctx, it, false, forgotten)
	if issuer.AccountGone(err) {
		if err := t.clients.forget(ctx, staging.Name, client); err != nil {
			return err
		}
		_, _, err = t.ask(ctx, it, false, forgotten)
	}
	return err
}

// stagingRoom takes one order out of a staging's budget, or says when there will
// be one.
func (t *term) stagingRoom(ctx context.Context, it issuance.Item, staging issuer.CA) (time.Time, error) {
	t.stagings.mu.Lock()
	defer t.stagings.mu.Unlock()
	now := t.now()
	l, known := t.stagings.ledgers[staging.Name]
	if !known {
		used, err := t.store.Used(ctx, staging.Name)
		if err != nil && !errors.Is(err, store.ErrRecord) {
			return now, fmt.Errorf("read ledger of %s: %w", staging.Name, err)
		}
		l = issuance.NewLedger(staging.Limits, issuance.UsedNow(used, now))
		t.stagings.ledgers[staging.Name] = l
	}
	for _, at := range []time.Time{l.AnyRoom(now), l.Room(it, now)} {
		if at.After(now) {
			return at, nil
		}
	}
	l.Take(it, now)
	return now, t.store.PutUsed(ctx, staging.Name, l.Used(now), t.session)
}

// stagingFailed counts failed validations against a staging's budget.
func (t *term) stagingFailed(it issuance.Item, f issuance.Failure) {
	t.stagings.mu.Lock()
	defer t.stagings.mu.Unlock()
	if l, known := t.stagings.ledgers[f.CA]; known && f.Stage == issuance.StageValidate {
		for _, name := range it.Names {
			l.TakeFailure(name, t.now())
		}
	}
}

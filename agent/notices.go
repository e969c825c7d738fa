package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/notify"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// openNotifier makes the receivers of the configuration.
func openNotifier(cfg config.Config, log hclog.Logger) (*notify.Notifier, error) {
	var receivers []notify.Receiver
	for _, c := range cfg.Notify {
		sink, err := openSink(c)
		if err != nil {
			return nil, fmt.Errorf("notify %s: %w", c.Name, err)
		}
		r := notify.Receiver{Sink: sink}
		for _, k := range c.Kinds {
			r.Kinds = append(r.Kinds, notify.Kind(k))
		}
		receivers = append(receivers, r)
	}
	return notify.New(log, receivers...), nil
}

func openSink(c config.Notify) (notify.Sink, error) {
	if c.Webhook == "" {
		return notify.NewExec(c.Command)
	}
	text, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read key_file: %w", err)
	}
	defer clear(text)
	return notify.NewWebhook(c.Webhook, fleet.NewSecret(bytes.TrimSpace(text)), c.AllowPrivate)
}

// notices tells others what happens to certificates and nodes. Only the leader
// tells, so that everything is told once.
type notices struct {
	fleet string
	tell  func(notify.Event)
	ends  bool // somebody is to know of certificates that end
}

// attempted tells what an attempt at a certificate has come to.
func (n notices) attempted(o outcome) {
	e := notify.Event{Fleet: n.fleet, At: time.Now().UTC().Truncate(time.Second), Names: o.item.Names, Facts: map[string]string{}}
	switch f := o.failure; {
	case f != nil && f.Class == issuance.Cut:
		return // it goes on in a moment
	case f != nil:
		e.Kind = notify.Failed
		if o.item.State == issuance.Parked {
			e.Kind = notify.Parked
		}
		e.Facts = map[string]string{
			"class": string(f.Class), "stage": string(f.Stage), "ca": f.CA, "type": f.Type, "detail": f.Detail,
			"failures": strconv.Itoa(o.item.Failed.Count), "next": o.item.Next.Format(time.RFC3339),
		}
		if o.item.State == issuance.Parked && (o.before.State == issuance.Parked || o.before.Failed.Parked == o.item.Failed.Parked) {
			return // parked as before, for all who were told
		}
	case o.err == nil && !o.gone && o.item.State == issuance.Issued:
		e.Kind = notify.Issued
		if o.before.Cert != nil {
			e.Kind = notify.Renewed
		}
		e.Facts = map[string]string{"ca": o.item.Cert.CA, "not_after": o.item.Cert.NotAfter.Format(time.RFC3339), "renewal": o.item.Next.Format(time.RFC3339)}
	default:
		return
	}
	e.ID = fmt.Sprintf("%s-%s-%d", o.item.ID(), e.Kind, o.item.Changed.Unix())
	n.tell(e)
}

// reported tells the alarms that nodes report, each once for as long as it lasts.
func (n notices) reported(reports []fleet.Report) {
	for _, r := range reports {
		for _, p := range r.Problems {
			if p.Severity != fleet.Alarm {
				continue
			}
			n.tell(notify.Event{
				ID:   fmt.Sprintf("%s-%s-%d", r.Node, p.Code, p.Since.Unix()),
				Kind: notify.Problem, Fleet: n.fleet, At: p.Since,
				Facts: map[string]string{"node": r.Node, "code": p.Code, "message": p.Message, "hint": p.Hint},
			})
		}
	}
}

// Certificates that nobody renews are told of this long before their end.
var warnings = []time.Duration{30 * 24 * time.Hour, 14 * 24 * time.Hour, 7 * 24 * time.Hour, 3 * 24 * time.Hour, 24 * time.Hour}

// lookEvery is how often the inventory is looked at for them.
const lookEvery = 6 * time.Hour

// expiring tells of certificates that are about to end and that nobody renews:
// those that were imported. It looks until ctx ends.
func (n notices) expiring(ctx context.Context, s *store.Store, log hclog.Logger) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := n.lookForEnds(ctx, s, time.Now()); err != nil && ctx.Err() == nil {
			log.Warn("certificates not looked at for their end", "next", lookEvery, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (n notices) lookForEnds(ctx context.Context, s *store.Store, now time.Time) error {
	head, err := s.Head(ctx)
	if err != nil {
		return ignoreMissing(err)
	}
	shards, _, err := s.Shards(ctx, inventory.Changed(inventory.Head{}, head.Head))
	if err != nil {
		return err
	}
	for _, r := range shards {
		for _, e := range r.Shard.Entries {
			if !e.Removed && e.Source == fleet.SourceImport {
				n.ending(e, now)
			}
		}
	}
	return nil
}

// ending tells of an entry whose certificate ends soon, once at each warning.
func (n notices) ending(e fleet.Entry, now time.Time) {
	left := e.NotAfter.Sub(now)
	due := time.Duration(0)
	for _, w := range warnings {
		if left <= w {
			due = w
		}
	}
	if due == 0 {
		return
	}
	n.tell(notify.Event{
		ID:   fmt.Sprintf("%s-%s-%d", e.Bundle.String()[:16], due, e.NotAfter.Unix()),
		Kind: notify.Expiring, Fleet: n.fleet, At: now.UTC().Truncate(time.Second), Names: []string{e.Name},
		Facts: map[string]string{"not_after": e.NotAfter.Format(time.RFC3339), "issuer": e.Issuer, "source": string(e.Source)},
	})
}

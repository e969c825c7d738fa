package agent

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// presence keeps this node in Consul's catalog, with a TTL check that says how
// it is, and its report in KV.
type presence struct {
	log   hclog.Logger
	store *store.Store
	view  *view

	problems *problems
	reg      store.Registration
	wake     wake
}

// reportEvery refreshes a report that has not changed, so that its age tells
// whether the agent lives.
const reportEvery = 30 * time.Second

// Register keeps the service registered and its check passing until ctx ends.
// It leaves the registration in place: nginx may go on serving without us.
func (p *presence) Register(ctx context.Context) error {
	registered := false
	for {
		err := p.beat(ctx, &registered)
		wait := fleet.UntilBeat(p.reg.TTL / 2)
		if err != nil && ctx.Err() == nil {
			wait = min(wait, 2*time.Second)
			p.log.Warn("service check not updated", "next", wait, "err", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (p *presence) beat(ctx context.Context, registered *bool) error {
	if !*registered {
		if err := p.store.Register(ctx, p.reg); err != nil {
			return err
		}
		*registered = true
	}
	healthy, note := health(p.view.Report())
	ctx, cancel := context.WithTimeout(ctx, p.reg.TTL/5) // so that there is time for another try
	defer cancel()
	err := p.store.Beat(ctx, p.reg.Node, healthy, note)
	if errors.Is(err, store.ErrUnregistered) {
		*registered = false
	}
	return err
}

func health(r fleet.Report) (healthy bool, note string) {
	for _, x := range r.Problems {
		if x.Severity == fleet.Alarm {
			return false, x.Message
		}
	}
	return true, "serving"
}

// published notes what others cannot read, because the report is where they
// would look: it shows here, in the status of this host, and in its check.
func (p *presence) published(err error) {
	switch {
	case errors.Is(err, store.ErrNameTaken):
		p.problems.replace("report", fleet.Problem{Code: "node-name-taken", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "give each host a name of its own: node in the configuration"})
	case errors.Is(err, store.ErrDenied):
		p.problems.replace("report", fleet.Problem{Code: "report-denied", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "let this node's token write its own report, nodes/<node>"})
	default:
		p.problems.replace("report")
	}
}

// Report keeps nodes/<node> in KV up to date until ctx ends.
func (p *presence) Report(ctx context.Context) error {
	reports := make(chan fleet.Report)
	kept := make(chan error, 1)
	go func() { kept <- p.store.KeepReport(ctx, p.reg.Node, p.reg.TTL, reports, p.published) }()
	for {
		now, tick := p.view.Report(), time.After(fleet.UntilBeat(reportEvery))
		select {
		case reports <- now: // which may take as long as Consul is away
		case err := <-kept:
			return err
		}
		for told := true; told; {
			select {
			case <-p.wake:
				told = says(p.view.Report(), now) // as after a proof that has found what the last one did
			case <-tick:
				told = false
			case err := <-kept:
				return err
			}
		}
	}
}

// says reports whether two reports say the same, at different times.
func says(a, b fleet.Report) bool {
	a.At = b.At
	return reflect.DeepEqual(a, b)
}

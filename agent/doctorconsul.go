package agent

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/tlsfleet/tlsfleet/agent/doctor"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// errAway is why nothing is known of what is in Consul.
var errAway = errors.New("no answer from Consul")

// consul looks at Consul, the way to it, the token and the clocks.
func (x *examiner) consul(ctx context.Context) []doctor.Finding {
	link := x.store.Link()
	if x.reach == nil {
		x.reach = x.store.Reach(ctx)
	}
	c := doctor.Consul{Address: link.Address, Here: link.Here, TLS: link.TLS, Reach: x.reach}
	var local store.Local
	if x.reach == nil {
		local, c.Local = x.store.Local(ctx)
		c.Version, c.Encrypted = local.Version, local.Encrypted
	}
	list := append(c.Judge(), x.access(ctx, local.Node).Judge()...)
	return append(list, x.clock(ctx, local))
}

// access asks Consul what the token may do.
func (x *examiner) access(ctx context.Context, consulNode string) doctor.Access {
	role := store.RoleAgent
	if x.cfg.Leader.Eligible {
		role = store.RoleLeader
	}
	a := doctor.Access{Role: string(role)}
	if x.reach != nil {
		a.Err = errAway
		return a
	}
	h := holder(role, x.cfg.Fleet, x.cfg.Node, consulNode)
	var needs []store.Ask
	for _, r := range h.Rights() {
		needs = append(needs, r.Asks()...)
	}
	wide := h.TooWide()
	allowed, err := x.store.Allowed(ctx, append(needs, wide...))
	if errors.Is(err, store.ErrOpen) {
		a.Open = true
		return a
	}
	a.Err = err
	for _, ask := range needs {
		if !allowed[ask] {
			a.Lacks = append(a.Lacks, ask.String())
		}
	}
	for _, ask := range wide {
		if allowed[ask] {
			a.Wide = append(a.Wide, ask.String())
		}
	}
	return a
}

// clock compares this clock with Consul's, if that is another, and with those
// of the nodes that report.
func (x *examiner) clock(ctx context.Context, local store.Local) doctor.Finding {
	c := doctor.Clock{Now: x.now, Consul: local.Date}
	var kernel unix.Timex
	state, err := unix.Adjtimex(&kernel)
	c.Err = err
	c.Unsynced = err == nil && (state == unix.TIME_ERROR || kernel.Status&unix.STA_UNSYNC != 0)
	if x.reach == nil && !x.closed {
		reports, _, err := x.store.Reports(ctx)
		if err == nil {
			c.Ahead = ahead(reports, x)
		}
	}
	return c.Judge()
}

// ahead names the nodes whose reports were made later than now.
func ahead(reports []fleet.Report, x *examiner) []string {
	var names []string
	for _, r := range reports {
		if r.Node != x.cfg.Node && r.At.Sub(x.now) > doctor.Skew {
			names = append(names, r.Node)
		}
	}
	return names
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/importer"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/handlers"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// ErrNotAllowed means that a file of this node cannot be read by this user.
var ErrNotAllowed = errors.New("this user may not read what a plan needs")

// ErrBlind means that what nginx holds in memory is not known in full.
var ErrBlind = errors.New("what nginx holds in memory is not known in full")

// planShown is how many names of one effect a plan lists unless it is to list
// all.
const planShown = 20

// PlanOptions say what a plan is made for.
type PlanOptions struct {
	All bool // list every name, however many there are
	// Import plans for these certificates instead of for what is in Consul.
	Import        bool
	Found         []importer.Found
	ImportOptions ImportOptions
}

// NodePlan is what a node would do, and nothing of it is done.
type NodePlan struct {
	Fleet    string          `json:"fleet"`
	Node     string          `json:"node"`
	Nginx    string          `json:"nginx"`    // "running", "not running", or what is wrong with it
	Followed uint64          `json:"followed"` // epoch of the inventory here
	Wanted   uint64          `json:"wanted"`   // the same in Consul
	Changes  []PlannedChange `json:"changes"`
	Total    PlanTotal       `json:"total"`   // of all changes, listed or not
	Omitted  PlanTotal       `json:"omitted"` // changes that are not listed
	Reloads  int             `json:"reloads"` // of nginx: one for all changes, or none
	Reasons  []string        `json:"reasons"` // of the reload
	Pending  int             `json:"pending"` // of an import: changes in Consul that come first
	Problems []fleet.Problem `json:"problems"`
	Import   *ImportResult   `json:"import,omitempty"` // what would not be imported
}

// Subjects of a PlannedChange.
const (
	PlanName    = "certificate"
	PlanRing    = "ring"
	PlanServers = "servers"
	PlanSite    = "site"
)

// PlannedChange is one thing that changes on a node.
type PlannedChange struct {
	Subject string          `json:"subject"` // "certificate", "ring", "servers" or "site"
	Name    string          `json:"name"`
	From    string          `json:"from"` // bundle hash, ring epoch or kind of servers; empty: none
	Until   time.Time       `json:"from_not_after,omitzero"`
	To      string          `json:"to"` // empty: it goes
	NewEnd  time.Time       `json:"to_not_after,omitzero"`
	Effect  handlers.Effect `json:"effect"`
	Reason  string          `json:"reason"`
	Diff    string          `json:"diff,omitempty"` // of the file of a site, unified
}

// PlanTotal counts changes by effect.
type PlanTotal struct {
	Reload  int `json:"reload"`
	Files   int `json:"files"`
	Nothing int `json:"nothing"`
}

func (t *PlanTotal) add(e handlers.Effect) int {
	switch e {
	case handlers.EffectReload:
		t.Reload++
		return t.Reload
	case handlers.EffectFiles:
		t.Files++
		return t.Files
	case handlers.EffectNothing:
	}
	t.Nothing++
	return t.Nothing
}

// planner makes one plan.
type planner struct {
	cfg   config.Config
	log   hclog.Logger
	store *store.Store
	node  *renderer.Viewer
	out   NodePlan
	here  here
	tls   *tlsServing
	held  map[string][]string
	nginx renderer.Inspection
	blind error // why what nginx holds in memory is not known in full
}

// Plan compares Consul with what this node has on disk, and says what the agent
// would do about it: now, if it runs, or when it starts. It takes no lock and
// changes nothing. The error is for what keeps it from knowing (ErrNotAllowed,
// ErrPartial with the plan of the rest).
func (c *Console) Plan(ctx context.Context, o PlanOptions) (NodePlan, error) {
	p := &planner{cfg: c.cfg, log: hclog.NewNullLogger(), store: c.store}
	p.out = NodePlan{Fleet: c.cfg.Fleet, Node: c.cfg.Node, Changes: []PlannedChange{}, Reasons: []string{}, Problems: []fleet.Problem{}}
	if err := c.checkMeta(ctx); err != nil {
		return p.out, err
	}
	if err := p.look(ctx); err != nil {
		return p.out, readable(err)
	}
	changes, missed, err := p.inventory(ctx)
	if err != nil {
		return p.out, err
	}
	if o.Import {
		p.out.Pending = len(changes)
		if changes, err = p.imports(ctx, c, o, changes); err != nil {
			return p.out, err
		}
		p.certificates(changes)
	} else {
		if err := p.ring(ctx); err != nil {
			return p.out, err
		}
		p.certificates(changes)
		if err := errors.Join(p.outdated(ctx), p.sites(ctx)); err != nil {
			return p.out, readable(err)
		}
	}
	p.sum(o.All)
	return p.out, errors.Join(p.blind, missed)
}

// readable explains what a user without permission sees.
func readable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("plan: %w: %w", ErrNotAllowed, err)
	}
	return fmt.Errorf("plan: %w", err)
}

// reload adds a change that needs one.
func (p *planner) reload(subject, from, to, reason string) {
	p.out.Changes = append(p.out.Changes, PlannedChange{
		Subject: subject, Name: subject, From: from, To: to, Effect: handlers.EffectReload, Reason: reason,
	})
	p.out.Reasons = append(p.out.Reasons, reason)
}

// sum counts and cuts the list.
func (p *planner) sum(all bool) {
	shown := []PlannedChange{}
	for _, c := range p.out.Changes {
		if n := p.out.Total.add(c.Effect); all || n <= planShown || c.Subject != PlanName && c.Subject != PlanSite {
			shown = append(shown, c)
		} else {
			p.out.Omitted.add(c.Effect)
		}
	}
	p.out.Changes = shown
	for i := range p.out.Problems {
		if x := &p.out.Problems[i]; x.Since.IsZero() {
			x.Since = time.Now().UTC().Truncate(time.Second)
		}
	}
	p.out.Reloads = min(p.out.Total.Reload, 1)
}

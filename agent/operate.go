package agent

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// Console is the fleet as an operator sees and drives it, straight from
// Consul; it needs no agent on its host.
type Console struct {
	cfg   config.Config
	store *store.Store
}

// OpenConsole reads the keyring and prepares to talk to Consul.
func OpenConsole(cfg config.Config, log hclog.Logger) (*Console, error) {
	st, err := openStore(cfg, log)
	if err != nil {
		return nil, err
	}
	return &Console{cfg: cfg, store: st}, nil
}

// snapshot is one consistent enough look at the fleet: the ring is read last,
// so no report can be ahead of it unless the ring went back.
type snapshot struct {
	nodes   []fleet.Node
	reports []fleet.Report
	bad     []store.BadReport
	rec     store.RingRecord
}

func (c *Console) look(ctx context.Context) (snapshot, error) {
	var s snapshot
	var err error
	if err = c.store.CheckMeta(ctx); err != nil && !errors.Is(err, store.ErrMissing) {
		return s, err
	}
	if s.reports, s.bad, err = c.store.Reports(ctx); err != nil {
		return s, err
	}
	if s.nodes, err = c.store.Nodes(ctx); err != nil {
		return s, err
	}
	s.rec, err = c.store.Ring(ctx)
	return s, err
}

func (s snapshot) standings() []handlers.Standing {
	return handlers.Standings(s.rec.Ring, s.nodes, s.reports)
}

// highest epoch that any node has seen.
func (s snapshot) highest() uint64 {
	var high uint64
	for _, r := range s.reports {
		high = max(high, r.Seen)
	}
	return high
}

// FleetStatus is what `tlsfleet status` shows.
type FleetStatus struct {
	Fleet   string       `json:"fleet"`
	Leader  string       `json:"leader"` // empty: none now
	Epoch   uint64       `json:"epoch"`  // ring in force; 0: none yet
	Proved  int          `json:"proved"` // nodes in service that have proved it
	Serving int          `json:"in_service"`
	Changed time.Time    `json:"changed,omitzero"`
	Cause   fleet.Cause  `json:"cause,omitempty"`
	By      string       `json:"by,omitempty"`
	Skipped []string     `json:"skipped,omitempty"` // nodes passed over by the last change
	Policy  string       `json:"policy"`
	Due     time.Time    `json:"rotation_due,omitzero"`
	Nodes   []NodeStatus `json:"nodes"`

	Inventory uint64 `json:"inventory"`            // epoch of the certificates; 0: there are none
	Names     int    `json:"names"`                // names with a certificate
	RingErr   string `json:"ring_error,omitempty"` // why the ring in Consul cannot be used

	Sites    *SitesState     `json:"sites,omitempty"`        // nil: there are none
	Slots    *ReloadSlots    `json:"reload_slots,omitempty"` // nil: the token may not see them
	Archives []ArchiveStatus `json:"archives,omitempty"`     // that the leader copies to, as far as it has told
}

// ReloadSlots is who reloads nginx now.
type ReloadSlots struct {
	Slots   int      `json:"slots"` // how many nodes may at once; 0: all
	Holders []string `json:"held_by,omitempty"`
}

// NodeStatus is one node of FleetStatus.
type NodeStatus struct {
	handlers.Standing
	Address string        `json:"address,omitempty"`
	Leader  bool          `json:"leader"`
	Report  *fleet.Report `json:"report,omitempty"`     // nil: it does not report
	BadErr  string        `json:"report_err,omitempty"` // why its report was refused
}

// Status looks at the whole fleet.
func (c *Console) Status(ctx context.Context) (FleetStatus, error) {
	out, _, err := c.overview(ctx)
	return out, err
}

// overview is the fleet and the ring of the same look.
func (c *Console) overview(ctx context.Context) (FleetStatus, TicketStatus, error) {
	s, err := c.look(ctx)
	if err != nil && !errors.Is(err, store.ErrMissing) && !errors.Is(err, store.ErrRecord) {
		return FleetStatus{}, TicketStatus{}, err
	}
	out, err := c.status(ctx, s, err)
	if err != nil || s.rec.Ring.Epoch == 0 {
		return out, TicketStatus{Fleet: c.cfg.Fleet}, err
	}
	return out, ticketStatus(c.cfg, s.rec.Ring), nil
}

// status adds to a look what it has not; unread is why there is no ring in it.
func (c *Console) status(ctx context.Context, s snapshot, unread error) (FleetStatus, error) {
	out := FleetStatus{Fleet: c.cfg.Fleet, Policy: string(c.cfg.Ticket.Policy), Nodes: []NodeStatus{}}
	if unread != nil {
		out.RingErr = unread.Error()
	}
	var err error
	if out.Leader, err = c.store.Leader(ctx); err != nil {
		return FleetStatus{}, err
	}
	if out.Inventory, out.Names, err = c.inventory(ctx); err != nil {
		return FleetStatus{}, err
	}
	if out.Sites, err = c.sitesState(ctx, s.nodes, s.reports); err != nil {
		out.Sites = &SitesState{Error: err.Error()}
	}
	if look, err := c.store.ReloadSlots(ctx); err == nil {
		out.Slots = &ReloadSlots{look.Slots, look.Holders}
	} else if !errors.Is(err, store.ErrDenied) {
		return FleetStatus{}, err
	}
	r := s.rec.Ring
	out.Epoch, out.Changed, out.Cause, out.By, out.Skipped = r.Epoch, r.Changed, r.Cause, r.By, r.Skipped
	if r.Epoch > 0 {
		out.Due = r.Current.Promoted.Add(c.cfg.Ticket.RotateEvery)
	}
	for _, st := range s.standings() {
		n := NodeStatus{Standing: st, Leader: st.Node == out.Leader}
		n.fill(s)
		if n.Leader && n.Report != nil {
			out.Archives = archiveStatus(n.Report.Archives, time.Now())
		}
		out.Nodes = append(out.Nodes, n)
		if !st.Drained {
			out.Serving++
			if st.Proved {
				out.Proved++
			}
		}
	}
	return out, nil
}

// inventory is the epoch of the certificates and how many names have one.
func (c *Console) inventory(ctx context.Context) (epoch uint64, names int, err error) {
	head, err := c.store.Head(ctx)
	return head.Head.Epoch, head.Head.Names, ignoreMissing(err)
}

// ignoreMissing takes a record that is not there for no error.
func ignoreMissing(err error) error {
	if errors.Is(err, store.ErrMissing) {
		return nil
	}
	return err
}

func (n *NodeStatus) fill(s snapshot) {
	for _, x := range s.nodes {
		if x.Name == n.Node {
			n.Address = x.Address
		}
	}
	for i := range s.reports {
		if s.reports[i].Node == n.Node {
			n.Report = &s.reports[i]
		}
	}
	for _, b := range s.bad {
		if b.Node == n.Node {
			n.BadErr = b.Err.Error()
		}
	}
}

// TicketStatus is what `tlsfleet ticket show` shows. It never holds key bytes.
type TicketStatus struct {
	Fleet     string        `json:"fleet"`
	Epoch     uint64        `json:"epoch"`
	Changed   time.Time     `json:"changed"`
	Cause     fleet.Cause   `json:"cause"`
	By        string        `json:"by"`
	Promote   bool          `json:"promote"` // next is adopted and waits for its proof
	Keys      []KeyStatus   `json:"keys"`
	Keep      int           `json:"keep"`          // previous keys kept
	LifeBound time.Duration `json:"life_bound_ns"` // longest a key lives, from its birth until no node holds it
}

// KeyStatus is one key of TicketStatus.
type KeyStatus struct {
	Role     fleet.Role    `json:"role"`
	Name     fleet.KeyName `json:"name"`
	Bits     int           `json:"aes_bits"`
	Origin   fleet.Origin  `json:"origin"`
	Born     time.Time     `json:"born"`
	Promoted time.Time     `json:"promoted,omitzero"`
	Retired  time.Time     `json:"retired,omitzero"`
}

// Ticket shows the ring in force.
func (c *Console) Ticket(ctx context.Context) (TicketStatus, error) {
	rec, err := c.store.Ring(ctx)
	if err != nil {
		return TicketStatus{}, err
	}
	return ticketStatus(c.cfg, rec.Ring), nil
}

func ticketStatus(cfg config.Config, r fleet.Ring) TicketStatus {
	t := cfg.Ticket
	out := TicketStatus{
		Fleet: cfg.Fleet, Epoch: r.Epoch, Changed: r.Changed, Cause: r.Cause, By: r.By, Promote: r.Promote,
		Keep: keep(cfg), LifeBound: ticket.LifeBound(t.SessionTimeout, t.ApplyLag, t.RotateEvery),
	}
	for _, m := range r.Members() {
		bits := 256
		if m.Key.Raw.Len() == fleet.KeySize128 {
			bits = 128
		}
		out.Keys = append(out.Keys, KeyStatus{m.Role, m.Key.Name(), bits, m.Key.Origin, m.Key.Born, m.Key.Promoted, m.Key.Retired})
	}
	order := map[fleet.Role]int{fleet.RoleNext: 0, fleet.RoleCurrent: 1, fleet.RolePrevious: 2}
	sort.SliceStable(out.Keys, func(i, j int) bool { return order[out.Keys[i].Role] < order[out.Keys[j].Role] })
	return out
}

// errNoRing explains ErrMissing to an operator.
func errNoRing(err error) error {
	if !errors.Is(err, store.ErrMissing) {
		return err
	}
	return fmt.Errorf("%w: the fleet has none yet: start an agent that may lead, it makes the first ring", err)
}

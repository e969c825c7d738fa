package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/probe"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// refusedOften is how many tickets in a row have to be refused before a person
// is called: one may have met a node between two rings.
const refusedOften = 3

// The results of an offer, as metrics name them.
const (
	offerResumed = "resumed"
	offerRefused = "refused" // a full handshake instead
	offerFailed  = "failed"  // no handshake with the other node
)

// resumption takes session tickets at this node's nginx and resumes with them
// at those of other nodes: what a client behind the balancer does.
type resumption struct {
	log      hclog.Logger
	node     string
	store    *store.Store
	renderer *renderer.Renderer
	view     *view
	problems *problems
	every    time.Duration
	probed   func(result string)

	last    fleet.Resumption
	refused int // in a row
}

// Run offers a ticket now and then until ctx ends.
func (p *resumption) Run(ctx context.Context) error {
	for {
		// Spread, so that nodes which were started together do not stay together.
		wait := time.NewTimer(p.every/2 + rand.N(p.every)) //nolint:gosec // no secret
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
		peer, from, to, err := p.choose(ctx)
		if ctx.Err() != nil {
			return nil
		}
		p.looked(err)
		if err != nil {
			p.log.Debug("no ticket offered to another node", "err", err)
			continue
		}
		p.offer(ctx, peer, from, to)
	}
}

// looked tells of a token with which no other node can be seen: nothing is
// measured then, and nothing else would show it.
func (p *resumption) looked(err error) {
	if !errors.Is(err, store.ErrDenied) {
		p.problems.replace("resumption-peers")
		return
	}
	p.problems.replace("resumption-peers", fleet.Problem{Code: "resumption-denied", Severity: fleet.Warning,
		Message: "no session ticket is offered to another node: " + err.Error(),
		Hint:    "apply what `tlsfleet policy agent` prints to this node's token"})
}

// errNoPeer means that there is nothing to offer, or nobody to offer it to.
var errNoPeer = errors.New("no node to offer a ticket to")

// choose is a node in service that has proved the ring which this one has
// proved, and a socket of each that are the same in both configurations.
func (p *resumption) choose(ctx context.Context) (peer string, from, to fleet.Listener, err error) {
	own := p.view.Report()
	if own.Proved == 0 || own.Mode != fleet.ModeRing {
		return "", from, to, errNoPeer
	}
	nodes, err := p.store.Nodes(ctx)
	if err != nil {
		return "", from, to, err
	}
	address := ""
	others := slices.DeleteFunc(slices.Clone(nodes), func(n fleet.Node) bool {
		if n.Name == p.node {
			address = n.Address
		}
		return n.Name == p.node || !n.InService() // one with an alarm, such as this one, counts too
	})
	if len(others) == 0 {
		return "", from, to, errNoPeer
	}
	other := others[rand.IntN(len(others))] //nolint:gosec // no secret
	report, err := p.store.Report(ctx, other.Name)
	if err != nil {
		return "", from, to, err
	}
	if report.Ring != own.Ring || report.Proved != own.Proved {
		return "", from, to, fmt.Errorf("%w: %s has not proved this node's ring", errNoPeer, other.Name)
	}
	in, err := p.renderer.Inspect(ctx)
	if err != nil {
		return "", from, to, err
	}
	from, to, ok := pair(in.Listeners, own.Listeners, report.Listeners, other.Address, isLocal(address))
	if !ok {
		return "", from, to, fmt.Errorf("%w: no TLS socket of %s is one of this node's", errNoPeer, other.Name)
	}
	return other.Name, from, to, nil
}

// pair picks, at random, a socket that has shown its key on both nodes: written
// alike in listen, or else in the same place of as many. local says that nodes
// reach each other by loopback addresses, as on one host.
func pair(ls []fleet.Listener, own, theirs []fleet.ListenerProof, peer string, local bool) (from, to fleet.Listener, ok bool) {
	own, theirs = sealing(own), sealing(theirs)
	type couple struct{ from, to fleet.Listener }
	var couples []couple
	for i, o := range own {
		at := slices.IndexFunc(ls, func(l fleet.Listener) bool { return l.Listen == o.Listen && l.Network == "tcp" })
		if at < 0 {
			continue
		}
		j := slices.IndexFunc(theirs, func(t fleet.ListenerProof) bool { return t.Listen == o.Listen })
		if j < 0 && len(own) == len(theirs) {
			j = i
		}
		if j < 0 {
			continue
		}
		far := ls[at]
		if far.Address = reach(theirs[j], peer, local); far.Address != "" {
			couples = append(couples, couple{ls[at], far})
		}
	}
	if len(couples) == 0 {
		return from, to, false
	}
	c := couples[rand.IntN(len(couples))] //nolint:gosec // no secret
	return c.from, c.to, true
}

// sealing are the sockets that showed which key seals their tickets.
func sealing(ps []fleet.ListenerProof) []fleet.ListenerProof {
	return slices.DeleteFunc(slices.Clone(ps), func(p fleet.ListenerProof) bool {
		return !slices.ContainsFunc(p.TLS, func(t fleet.TicketSeen) bool { return t.Err == "" && !t.Absent })
	})
}

// reach is where another node's socket is reached from this one; empty if it
// cannot be.
func reach(p fleet.ListenerProof, peer string, local bool) string {
	ap, err := netip.ParseAddrPort(p.Address)
	if err != nil {
		return ""
	}
	host, _, err := net.SplitHostPort(p.Listen)
	if wild := err != nil || host == "*" || host == "0.0.0.0" || host == "::"; wild {
		return net.JoinHostPort(peer, fmt.Sprint(ap.Port()))
	}
	if ap.Addr().IsLoopback() && !local {
		return ""
	}
	return p.Address
}

func isLocal(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.IsLoopback()
}

// offer takes a ticket here and offers it there.
func (p *resumption) offer(ctx context.Context, peer string, from, to fleet.Listener) {
	version := uint16(tls.VersionTLS12)
	if rand.IntN(2) == 0 { //nolint:gosec // no secret
		version = tls.VersionTLS13
	}
	resumed, err := probe.Resumes(ctx, from, to, version)
	if ctx.Err() != nil {
		return
	}
	if err != nil && !errors.Is(err, probe.ErrOffer) {
		p.log.Debug("no ticket had at this node", "err", err) // the follower tells of it
		return
	}
	p.last.At, p.last.Peer, p.last.Err = time.Now().UTC().Truncate(time.Second), peer, ""
	switch {
	case err != nil:
		p.last.Err = err.Error()
		p.probed(offerFailed)
	case resumed:
		p.last.Offered, p.last.Resumed, p.refused = p.last.Offered+1, p.last.Resumed+1, 0
		p.probed(offerResumed)
		p.problems.replace("resumption")
	default:
		p.last.Offered, p.refused = p.last.Offered+1, p.refused+1
		p.last.Err = "the ticket was not taken"
		p.probed(offerRefused)
		p.log.Warn("ticket of this node not taken by another", "peer", peer, "address", to.Address, "tls", tls.VersionName(version), "refused", p.refused)
	}
	p.view.resumed(p.last)
	if p.refused >= refusedOften {
		p.problems.replace("resumption", fleet.Problem{Code: "resumption-broken", Severity: fleet.Alarm,
			Message: fmt.Sprintf("the last %d session tickets of this node were not taken by others, %s last, although both seal with the ring's key", p.refused, peer),
			Hint:    "compare the default servers of the socket " + from.Listen + " on both: certificate, ssl_session_timeout, ssl_verify_client"})
	}
}

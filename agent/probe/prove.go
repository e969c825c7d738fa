package probe

import (
	"context"
	"crypto/tls"
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

const (
	defaultTimeout = 5 * time.Second
	parallel       = 8 // handshakes at once
)

// versions are those with which every listener is tried, in this order.
var versions = []struct {
	id   uint16
	name string
}{
	{tls.VersionTLS12, "1.2"},
	{tls.VersionTLS13, "1.3"},
}

// Prober proves listeners. The zero value is ready.
type Prober struct {
	Timeout time.Duration // of one handshake with its dial; 0 is 5s
}

// Prove shakes hands with every listener in TLS 1.2 and in TLS 1.3 and returns
// one proof each, in the order of ls. It always returns: what went wrong is in
// the proofs. Certificates are not verified: it is the ticket that is looked at,
// on an address of this host, and an expired certificate must not hide it.
func (p *Prober) Prove(ctx context.Context, ls []fleet.Listener) []fleet.ListenerProof {
	proofs := make([]fleet.ListenerProof, len(ls))
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i, l := range ls {
		proofs[i] = fleet.ListenerProof{Listen: l.Listen, Address: l.Address, Skipped: skip(l)}
		if proofs[i].Skipped != "" {
			continue
		}
		seen := make([]fleet.TicketSeen, len(versions))
		proofs[i].TLS = seen
		for j := range versions {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				seen[j] = p.see(ctx, l, j)
			})
		}
	}
	wg.Wait()
	for _, proof := range proofs {
		explainSilence(proof.TLS)
	}
	return proofs
}

// skip says why a listener cannot show a ticket; empty if it can.
func skip(l fleet.Listener) string {
	switch {
	case l.RejectsAll:
		return "rejects every handshake"
	case l.TicketsOff:
		return "session tickets are off"
	}
	return ""
}

// see is one handshake in versions[j].
func (p *Prober) see(ctx context.Context, l fleet.Listener, j int) fleet.TicketSeen {
	seen := fleet.TicketSeen{Version: versions[j].name}
	res, err := client{listener: l, version: versions[j].id, timeout: p.timeout()}.shake(ctx)
	if err == nil {
		seen.Key, err = keyName(res.session)
	}
	if isAlert(err, alertProtocolVersion) {
		seen.Absent = true
	} else if err != nil {
		seen.Err = err.Error()
	}
	return seen
}

func (p *Prober) timeout() time.Duration {
	if p.Timeout > 0 {
		return p.Timeout
	}
	return defaultTimeout
}

// explainSilence makes an error of a listener that speaks no version at all.
func explainSilence(seen []fleet.TicketSeen) {
	for _, s := range seen {
		if !s.Absent {
			return
		}
	}
	for i := range seen {
		seen[i].Err = "refused like every version: have TLSv1.2 or TLSv1.3 in ssl_protocols " +
			"of the default server of this socket"
	}
}

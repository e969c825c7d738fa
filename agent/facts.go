package agent

import (
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/metrics"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// facts are what this agent knows now.
func (a *Agent) facts() metrics.Facts {
	f := metrics.Facts{Report: a.view.Report(), Leading: a.lead.seen.get()}
	if ring, _ := a.view.own(); ring != nil && f.Report.Mode != "" {
		f.Ring = ring
	}
	a.view.mu.Lock()
	f.Contact, f.Certificates.Pending = a.view.contact, a.view.pending
	a.view.mu.Unlock()
	f.Certificates.Expiring, f.Certificates.Soonest = a.certs.known.expiries(time.Now(), metrics.MostNames)
	return f
}

// leading is what a leader knows of the fleet, for those who ask. The zero value
// is that of a node that does not lead.
type leading struct {
	mu       sync.Mutex
	fleet    *metrics.Leading // nil: not leading
	issuance map[issuance.State]int
	budget   *metrics.Budget
	sites    metrics.Wave

	lags func() []metrics.Archive // nil: there are no archives
}

// looked notes what the leader has read.
func (l *leading) looked(v handlers.View) {
	f := metrics.Leading{}
	for _, n := range v.Nodes {
		if n.Healthy {
			f.Alive++
		}
	}
	if v.Ring != nil {
		for _, s := range handlers.Standings(*v.Ring, v.Nodes, v.Reports) {
			if s.Drained {
				continue
			}
			f.Serving++
			if s.Proved {
				f.Proved++
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fleet = &f
}

// wave notes how far the sites are.
func (l *leading) wave(w handlers.Wave) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sites = metrics.Wave{Epoch: w.Epoch, State: string(w.State)}
}

// moved notes that an item of the journal came, went or changed its state; an
// empty state is none.
func (l *leading) moved(from, to issuance.State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.issuance == nil {
		l.issuance = map[issuance.State]int{}
	}
	if from != "" {
		l.issuance[from]--
	}
	if to != "" {
		l.issuance[to]++
	}
}

// spent notes what a CA still allows.
func (l *leading) spent(b metrics.Budget) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.budget = &b
}

// restarted forgets the journal, which is about to be read again.
func (l *leading) restarted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.issuance, l.budget = nil, nil
}

// ended notes that the node leads no more.
func (l *leading) ended() {
	l.restarted()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fleet, l.sites = nil, metrics.Wave{}
}

// get is all of it; nil if the node does not lead.
func (l *leading) get() *metrics.Leading {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fleet == nil {
		return nil
	}
	f := *l.fleet
	f.Wave = l.sites
	f.Issuance = map[string]int{}
	for state, n := range l.issuance {
		f.Issuance[string(state)] = n
	}
	if l.lags != nil {
		f.Archives = l.lags()
	}
	if l.budget != nil {
		f.Budgets = []metrics.Budget{*l.budget}
	}
	return &f
}

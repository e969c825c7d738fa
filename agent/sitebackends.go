package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// mostBlocking is for how many services a connection to Consul is held open: it
// takes 200 from one address, and the store opens 32. Others are polled.
const mostBlocking = 16

// serviceOf is the service that a site's requests go to.
func serviceOf(b site.Backends) store.Service {
	return store.Service{Name: b.Service, Tag: b.Tag, Datacenter: b.Datacenter, PassingOnly: b.PassingOnly, Weights: b.Weights}
}

// services is the services in use, each once, in a fixed order.
func (f *siteFollower) services() []store.Service {
	seen := map[string]store.Service{}
	var keys []string
	for _, rec := range f.sites {
		if rec.Site.Backends.Service == "" {
			continue
		}
		s := serviceOf(rec.Site.Backends)
		if _, in := seen[s.String()]; !in {
			keys = append(keys, s.String())
		}
		seen[s.String()] = s
	}
	slices.Sort(keys)
	list := make([]store.Service, len(keys))
	for i, key := range keys {
		list[i] = seen[key]
	}
	return list
}

// servicePool follows the services in use.
type servicePool struct {
	wake wake

	mu    sync.Mutex
	by    map[string]*serviceState
	parts sync.WaitGroup
}

// serviceState is what is known of one service.
type serviceState struct {
	got      store.Instances
	answered bool      // by Consul, at least once
	err      error     // of the last answer
	since    time.Time // it is asked for
	polled   bool      // instead of followed as it changes
	cancel   context.CancelFunc
}

// why says in which state a service without instances is.
func (s serviceState) why(name string) string {
	switch {
	case s.err != nil:
		return s.err.Error()
	case !s.answered:
		return fmt.Sprintf("Consul has not yet said anything of the service %s", name)
	case s.got.Unusable > 0:
		return fmt.Sprintf("none of the %d instances of the service %s can be used: %s", s.got.Unusable, name, s.got.Why)
	}
	return fmt.Sprintf("the service %s has no instance that passes its checks", name)
}

// use follows these services and no others: the first ones as they change, as
// many as may hold connections.
func (p *servicePool) use(ctx context.Context, st *store.Store, want []store.Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by == nil {
		p.by = map[string]*serviceState{}
	}
	keep := map[string]bool{}
	for _, s := range want {
		keep[s.String()] = true
	}
	for key, state := range p.by {
		if !keep[key] {
			state.cancel()
			delete(p.by, key)
		}
	}
	blocking := 0
	for _, state := range p.by {
		if !state.polled {
			blocking++
		}
	}
	for _, s := range want {
		key := s.String()
		state := p.by[key]
		polled := blocking >= mostBlocking
		switch {
		case state == nil:
			state = &serviceState{since: time.Now()}
			p.by[key] = state
		case !state.polled || polled:
			continue
		default:
			state.cancel() // there is a place for it now
		}
		if state.polled = polled; !polled {
			blocking++
		}
		var followed context.Context
		followed, state.cancel = context.WithCancel(ctx)
		p.parts.Go(func() {
			st.WatchService(followed, s, polled, func(got store.Instances, err error) { p.put(state, got, err) })
		})
	}
}

// put takes an answer in, and wakes if it is another one.
func (p *servicePool) put(state *serviceState, got store.Instances, err error) {
	p.mu.Lock()
	changed := (state.err == nil) != (err == nil)
	state.err = err
	if err == nil {
		changed = changed || !state.answered || !slices.Equal(state.got.Backends, got.Backends) || state.got.Unusable != got.Unusable
		state.got, state.answered = got, true
	}
	p.mu.Unlock()
	if changed {
		p.wake.give()
	}
}

// state is what is known of a service.
func (p *servicePool) state(key string) serviceState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.by[key]; s != nil {
		return *s
	}
	return serviceState{}
}

// stop ends all and waits for that.
func (p *servicePool) stop() {
	p.mu.Lock()
	for _, s := range p.by {
		s.cancel()
	}
	p.mu.Unlock()
	p.parts.Wait()
}

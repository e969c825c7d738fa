package dns01

import (
	"context"
	"io"
	"log"
	"strings"
	"sync"

	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/challenge/dns01"
	legolog "github.com/go-acme/lego/v4/log"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// asked are the DNS servers that lego asks, which it keeps in a variable of its
// package. Who needs others waits until nobody uses those.
var asked struct {
	sync.RWMutex
	servers string
}

func init() {
	// It logs by itself, to standard error, what an error tells as well.
	legolog.Logger = log.New(io.Discard, "", 0)
}

// asking calls a function while lego asks these servers.
func asking(servers []string, call func() error) error {
	want := strings.Join(servers, " ")
	for {
		asked.RLock()
		if asked.servers == want {
			defer asked.RUnlock()
			return call()
		}
		asked.RUnlock()
		if err := ask(want); err != nil {
			return err
		}
	}
}

// ask has lego ask other servers.
func ask(servers string) error {
	asked.Lock()
	defer asked.Unlock()
	if asked.servers == servers {
		return nil
	}
	for _, option := range []dns01.ChallengeOption{dns01.AddRecursiveNameservers(strings.Fields(servers)), dns01.AddDNSTimeout(askTimeout)} {
		if err := option(nil); err != nil {
			return err
		}
	}
	dns01.ClearFqdnCache()
	asked.servers = servers
	return nil
}

// legoProvider is one of lego's providers for one challenge. lego passes no
// contexts on: HTTP requests end with the call's context by the fence, and
// everything else is left to end by itself.
type legoProvider struct {
	challenge.Provider
	fence   *fence
	servers []string
	turn    chan struct{} // one call at a time
}

func newLegoProvider(p challenge.Provider, f *fence, servers []string) *legoProvider {
	return &legoProvider{Provider: p, fence: f, servers: servers, turn: make(chan struct{}, 1)}
}

func (p *legoProvider) set(ctx context.Context, r record) error {
	return p.do(ctx, func() error { return p.Present(r.domain, r.token, r.keyAuth) })
}

func (p *legoProvider) unset(ctx context.Context, r record) error {
	return p.do(ctx, func() error { return p.CleanUp(r.domain, r.token, r.keyAuth) })
}

func (p *legoProvider) do(ctx context.Context, call func() error) error {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p.fence.until(ctx)
	done := make(chan error, 1)
	go func() {
		defer func() { <-p.turn }()
		done <- asking(p.servers, func() error {
			// To wait may have taken longer than the lease.
			if err := fleet.Leased(ctx); err != nil {
				return err
			}
			return call()
		})
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *legoProvider) wait() {
	p.turn <- struct{}{}
	<-p.turn
}

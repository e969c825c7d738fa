package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

const (
	nodes = 3
	// minInterval is far below tlsfleet's default: here keys are rotated every
	// few seconds so that there is something to see.
	minInterval = time.Second
	hold        = 20 * time.Second // longest time a client keeps a ticket
	ticketLife  = 2 * time.Minute  // longest time tlsfleet counts on
	// rotateEvery is never reached, the demo rotates before. It decides how many
	// previous keys the ring keeps: six, which tickets held that long need when
	// keys change every few seconds.
	rotateEvery = 15 * time.Minute
)

// errLost is returned when a resumption was lost.
var errLost = errors.New("resumptions were lost")

// stage is everything the demo has started.
type stage struct {
	p       *lab.Program
	consul  *testkit.ConsulServer
	pebble  *testkit.PebbleServer
	fleet   *lab.Fleet
	agents  *lab.Agents
	board   *board
	ca      *lab.Authority
	shop    *watch // of the name shop; nil before its certificate is there
	options options

	renewals int // certificates for shop so far
}

// demonstrate starts everything, gives the tour and, unless that is all, goes
// on rotating until ctx ends.
func demonstrate(ctx context.Context, p *lab.Program, o options) error {
	b := newBoard()
	b.say("Starting Consul, Pebble (a CA), %d nginx, a balancer, and an agent beside each nginx ...", nodes)
	ca, err := lab.NewAuthority()
	if err != nil {
		return err
	}
	pebble := testkit.Pebble(p, testkit.PebbleOptions{HTTPPort: testkit.FreePort(p, "127.0.0.1"), Blocked: []string{refused}})
	s := &stage{p: p, consul: testkit.Consul(p), pebble: pebble, fleet: lab.NewFleet(p, nodes), board: b, ca: ca, options: o}
	s.fleet.Start(p)
	s.agents, err = s.fleet.StartAgents(ctx, p, lab.AgentOptions{
		Binary: o.binary, Consul: s.consul.Addr, Splay: o.splay, MinInterval: minInterval, RotateEvery: rotateEvery, TicketLife: ticketLife, AcceptEventKeys: true,
		Certificates: true,
		CA:           &lab.CA{Directory: pebble.Directory, RootFile: pebble.RootFile, HTTPPort: pebble.HTTPPort, Resolver: pebble.DNS},
	})
	if err != nil {
		return s.ended(ctx, err)
	}
	if err := s.startHandler(ctx); err != nil {
		return s.ended(ctx, err)
	}
	stop := s.startLoad(ctx)
	err = s.tour(ctx)
	if err == nil && !o.once {
		err = s.goOn(ctx)
	}
	if s.shop != nil {
		s.shop.stop()
	}
	stop()
	return errors.Join(s.ended(ctx, err), b.verdict())
}

// ended turns the end by Ctrl-C into success where it is the way to end.
func (s *stage) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && !s.options.once {
		return nil
	}
	return err
}

// startLoad starts the clients and the board. The returned function stops both.
func (s *stage) startLoad(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		lab.Load{
			Dial: s.fleet.RoundRobin, Name: lab.ServerName, Roots: s.fleet.Roots,
			Rate: s.options.rate, Holders: 0.2, Hold: hold, Record: s.board.record,
		}.Run(ctx)
	})
	wg.Go(func() { s.board.run(ctx, s) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// handler is what `consul watch` runs on the first node: it hands the events
// over to the agent, which has seen them itself.
const handler = `"$TLSFLEET" handle-event --config "$CONFIG" && echo handed over`

// startHandler starts a real watch of Consul events on the first node.
func (s *stage) startHandler(ctx context.Context) error {
	n := s.fleet.Nodes[0]
	w := lab.Start(s.p, "consul watch of "+n.Name, s.handlerLog(),
		[]string{"CONSUL_HTTP_ADDR=" + s.consul.Addr, "TLSFLEET=" + s.agents.Binary, "CONFIG=" + s.agents.Configs[0]},
		testkit.ConsulBinary(s.p), "watch", "-type=event", "-name="+eventRefresh, handler)
	return s.await(ctx, "the watch handler's first call", func() (bool, error) {
		calls, err := s.handlerCalls()
		return calls > 0, errors.Join(err, w.Ended())
	})
}

func (s *stage) handlerLog() string { return filepath.Join(s.fleet.Nodes[0].Nginx.Dir, "watch.log") }

// awaitLimit is for one step of the tour.
const awaitLimit = 90 * time.Second

// await looks until done says so.
func (s *stage) await(ctx context.Context, what string, done func() (bool, error)) error {
	return s.awaitFor(ctx, awaitLimit, what, done)
}

// awaitFor is await with a limit of its own.
func (s *stage) awaitFor(ctx context.Context, limit time.Duration, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, err := done()
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Command rotation compares ways to rotate the session ticket keys of three
// nginx behind an L4 balancer, on real parts: how many resumptions clients
// lose that reach another node with each connection. It prints one line per
// contestant.
//
// The window of a rotation is the time from its start until the last node has
// reloaded.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// options are what the run is measured with.
type options struct {
	names      []string // contestants
	binary     string   // tlsfleet
	rotations  int
	attempts   int // of tlsfleet, at least
	proofs     int // rotations timed until proved
	splay      time.Duration
	ticketLife time.Duration // 0: as long as nginx lets clients resume
	settle     time.Duration // from the end of one window to the next rotation
	rate       float64       // connections per second
	holders    float64       // share of connections with a ticket held long
	hold       time.Duration // longest hold
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "rotation: error: %v\n", err)
		os.Exit(2)
	}
	os.Exit(lab.Main("rotation", func(ctx context.Context, p *lab.Program) error {
		return compare(ctx, p, o)
	}))
}

func parse(args []string) (options, error) {
	var o options
	var names string
	flags := flag.NewFlagSet("rotation", flag.ContinueOnError)
	flags.StringVar(&names, "contestant", "single-key,two-key,tlsfleet", "who is measured, with commas between")
	flags.StringVar(&o.binary, "tlsfleet", "../bin/tlsfleet", "the tlsfleet binary")
	flags.IntVar(&o.rotations, "rotations", 20, "rotations of each contestant, at least")
	flags.IntVar(&o.attempts, "attempts", 100_000, "attempts to resume with tlsfleet, at least")
	flags.IntVar(&o.proofs, "proofs", 50, "rotations of tlsfleet timed until proved, splay 0; 0 for none")
	flags.DurationVar(&o.splay, "splay", 5*time.Second, "longest random delay before a reload")
	flags.DurationVar(&o.settle, "settle", 2*time.Second, "pause between rotations")
	flags.Float64Var(&o.rate, "rate", 1200, "connections per second of all clients")
	flags.Float64Var(&o.holders, "holders", 0.1, "share of connections with a ticket held long")
	flags.DurationVar(&o.hold, "hold", 0, "longest time a ticket is held (default splay + settle, about the time between rotations)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("read arguments: unexpected %q", flags.Arg(0))
	}
	if o.hold == 0 {
		o.hold = o.splay + o.settle
	}
	o.names = strings.Split(names, ",")
	for _, n := range o.names {
		if _, ok := contestants[n]; !ok {
			return o, fmt.Errorf("read -contestant: %q is none of single-key, two-key, tlsfleet", n)
		}
	}
	return o, nil
}

// compare measures the contestants one after the other.
func compare(ctx context.Context, p *lab.Program, o options) error {
	for _, name := range o.names {
		if err := p.Sub(ctx, name, func(ctx context.Context, p *lab.Program) error {
			return measure(ctx, p, o, name)
		}); err != nil {
			return err
		}
	}
	if o.proofs == 0 || !slices.Contains(o.names, tlsfleetName) {
		return nil
	}
	return p.Sub(ctx, "proved", func(ctx context.Context, p *lab.Program) error {
		return prove(ctx, p, o)
	})
}

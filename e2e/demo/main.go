// Command demo shows tlsfleet at work on one machine: a real Consul, three
// nginx with an agent each, an L4 balancer in front and clients that resume
// their TLS sessions through it, while the ticket keys are rotated in every
// way there is, certificates are imported and renewed, others obtained from a
// real ACME CA (Pebble) and renewed, and the backends of a site join and leave.
// With -once it ends after the tour, with status 0 only if no resumption was
// lost, no handshake and no request failed and no certificate needed a reload.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// options are the command line.
type options struct {
	once   bool
	binary string        // tlsfleet
	every  time.Duration // between two rotations after the tour
	splay  time.Duration
	rate   float64 // connections per second
	names  int     // in the import of many
}

func main() {
	var o options
	flags := flag.NewFlagSet("demo", flag.ExitOnError)
	flags.BoolVar(&o.once, "once", false, "end after the tour")
	flags.StringVar(&o.binary, "tlsfleet", "../bin/tlsfleet", "the tlsfleet binary")
	flags.DurationVar(&o.every, "every", 20*time.Second, "time between rotations after the tour")
	flags.DurationVar(&o.splay, "splay", 2*time.Second, "longest random delay before a reload")
	flags.Float64Var(&o.rate, "rate", 200, "connections per second of all clients")
	flags.IntVar(&o.names, "names", 10000, "names in the import of many")
	if err := flags.Parse(os.Args[1:]); err != nil {
		os.Exit(2) // unreachable with ExitOnError
	}
	if o.names < 1 {
		fmt.Fprintf(os.Stderr, "demo: error: read arguments: -names is %d, want 1 or more\n", o.names)
		os.Exit(2)
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: error: read arguments: unexpected %q\n", flags.Arg(0))
		os.Exit(2)
	}
	os.Exit(lab.Main("demo", func(ctx context.Context, p *lab.Program) error {
		return demonstrate(ctx, p, o)
	}))
}

// Command swap renews certificates a thousand times a second under clients
// that make full handshakes, and counts the handshakes that fail. The contestants
// differ in nothing but nginx's configuration: plain-symlink names chain and
// key by the link that is flipped, tlsfleet is the rendered block. It prints
// one line per contestant.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// options are what the run is measured with.
type options struct {
	contestants []string
	handshakes  int
	clients     int
	names       int
	rate        float64 // swaps per second
	limit       time.Duration
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "swap: error: %v\n", err)
		os.Exit(2)
	}
	os.Exit(lab.Main("swap", func(ctx context.Context, p *lab.Program) error {
		for _, who := range o.contestants {
			if err := p.Sub(ctx, who, func(ctx context.Context, p *lab.Program) error {
				return measure(ctx, p, o, who)
			}); err != nil {
				return err
			}
		}
		return nil
	}))
}

func parse(args []string) (options, error) {
	var o options
	var who string
	flags := flag.NewFlagSet("swap", flag.ContinueOnError)
	flags.StringVar(&who, "contestant", plainName+","+tlsfleetName, "who is measured, with commas between")
	flags.IntVar(&o.handshakes, "handshakes", 50_000, "full handshakes with each contestant")
	flags.IntVar(&o.clients, "clients", 4, "clients at a time")
	flags.IntVar(&o.names, "names", 1, "names that are renewed, one after the other; fewer is harder")
	flags.Float64Var(&o.rate, "rate", 1000, "swaps per second of all names")
	flags.DurationVar(&o.limit, "limit", 4*time.Minute, "longest time for each contestant")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("read arguments: unexpected %q", flags.Arg(0))
	}
	if o.handshakes < 1 || o.clients < 1 || o.names < 1 || o.rate <= 0 {
		return o, fmt.Errorf("read options: want at least one of handshakes, clients, names and swaps")
	}
	o.contestants = strings.Split(who, ",")
	for _, c := range o.contestants {
		if c != plainName && c != tlsfleetName {
			return o, fmt.Errorf("read -contestant: %q is none of %s, %s", c, plainName, tlsfleetName)
		}
	}
	return o, nil
}

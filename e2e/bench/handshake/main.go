// Command handshake measures what a TLS 1.3 handshake costs nginx's worker in
// each mode of serving certificates, full and resumed, and what a release costs
// with so many names. It prints one line per mode and number of names:
// microseconds of the worker's CPU, milliseconds from the test of a release to
// its proof, and the memory of master and worker, shared pages counted once.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// options are what the run is measured with.
type options struct {
	modes      []string
	sizes      []int
	handshakes int // of each kind
	clients    int
	hot        int // names that clients ask for
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "handshake: error: %v\n", err)
		os.Exit(2)
	}
	os.Exit(lab.Main("handshake", func(ctx context.Context, p *lab.Program) error {
		for _, n := range o.sizes {
			for _, mode := range o.modes {
				if err := p.Sub(ctx, mode, func(ctx context.Context, p *lab.Program) error {
					return measure(ctx, p, o, mode, n)
				}); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

func parse(args []string) (options, error) {
	var o options
	var modes, sizes string
	flags := flag.NewFlagSet("handshake", flag.ContinueOnError)
	flags.StringVar(&modes, "modes", "static,variable,"+cached, "modes, with commas between; "+cached+" is left out where nginx has no cache")
	flags.StringVar(&sizes, "n", "1000,10000", "numbers of names")
	flags.IntVar(&o.handshakes, "handshakes", 4000, "handshakes of each kind")
	flags.IntVar(&o.clients, "clients", 2, "clients at a time")
	flags.IntVar(&o.hot, "hot", 100, "names that clients ask for, in turn")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("read arguments: unexpected %q", flags.Arg(0))
	}
	if o.handshakes < 1 || o.clients < 1 || o.hot < 1 {
		return o, fmt.Errorf("read options: want at least one of handshakes, clients and hot names")
	}
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil || n < 1 {
			return o, fmt.Errorf("read -n: %q is no number of names", size)
		}
		o.sizes = append(o.sizes, n)
	}
	o.modes = strings.Split(modes, ",")
	for _, m := range o.modes {
		if _, ok := servers(m); !ok {
			return o, fmt.Errorf("read -modes: %q is none of static, variable, %s", m, cached)
		}
	}
	return o, nil
}

// Command reloads compares ways to keep the nginx of five nodes on a service
// in Consul's catalog and on a certificate that both change all the time, on
// real parts: how often nginx is reloaded, and what that costs its clients. It
// prints one line per contestant.
//
// Half of the changes are instances that join or leave, half are certificates.
// reloads_per_node is the mean from the first change until all nodes serve the
// last, max_at_once the most nodes that were between the signal and the end of
// accepting of their old workers at the same time. Clients keep their
// connections, through an L4 balancer; failed_retrying is the failed requests of
// those that repeat one that was cut on a connection used before, failed_plain
// of those that do not, as nobody may for a POST. converge_s is from the last
// change until each node was seen to use just the instances that are left, and
// to show the last certificate.
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

// The contestants.
const (
	templateName = "consul-template"
	tlsfleetName = "tlsfleet"
)

// options are what the run is measured with.
type options struct {
	names    []string // contestants
	template string   // the consul-template binary
	tlsfleet string   // the tlsfleet binary
	changes  int      // of each contestant
	during   time.Duration
	clients  int           // of each kind
	pause    time.Duration // between two requests of a client
	limit    time.Duration // for all nodes to serve the last change
	judge    bool
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "reloads: error: %v\n", err)
		os.Exit(2)
	}
	os.Exit(lab.Main("reloads", func(ctx context.Context, p *lab.Program) error {
		figures, err := compare(ctx, p, o)
		if err == nil && o.judge {
			err = judge(figures)
		}
		return err
	}))
}

func parse(args []string) (options, error) {
	var o options
	var names string
	flags := flag.NewFlagSet("reloads", flag.ContinueOnError)
	flags.StringVar(&names, "contestant", templateName+","+tlsfleetName, "who is measured, with commas between")
	flags.StringVar(&o.template, "consul-template", "consul-template", "the consul-template binary")
	flags.StringVar(&o.tlsfleet, "tlsfleet", "../bin/tlsfleet", "the tlsfleet binary")
	flags.IntVar(&o.changes, "changes", 200, "changes with each contestant")
	flags.DurationVar(&o.during, "during", time.Minute, "time over which they are spread")
	flags.IntVar(&o.clients, "clients", 8, "clients of each kind")
	flags.DurationVar(&o.pause, "pause", 20*time.Millisecond, "between two requests of a client")
	flags.DurationVar(&o.limit, "limit", 2*time.Minute, "longest time until all nodes serve the last change")
	flags.BoolVar(&o.judge, "judge", true, "end with 1 when a figure is not as expected")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("read arguments: unexpected %q", flags.Arg(0))
	}
	if o.changes < 2 || o.clients < 1 || o.during <= 0 || o.pause <= 0 || o.limit <= 0 {
		return o, fmt.Errorf("read options: want at least two changes, one client and some time")
	}
	o.names = strings.Split(names, ",")
	for _, n := range o.names {
		if n != templateName && n != tlsfleetName {
			return o, fmt.Errorf("read -contestant: %q is none of %s, %s", n, templateName, tlsfleetName)
		}
	}
	return o, nil
}

// compare measures the contestants one after the other.
func compare(ctx context.Context, p *lab.Program, o options) ([]figure, error) {
	var figures []figure
	for _, name := range o.names {
		err := p.Sub(ctx, name, func(ctx context.Context, p *lab.Program) error {
			f, err := measure(ctx, p, o, name)
			if err == nil {
				fmt.Println(f)
				figures = append(figures, f)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return figures, nil
}

// Command restore measures how long a fleet that has lost everything takes to
// have all its certificates back. It prints
//
//	bench=restore who=tlsfleet nodes=3 names= seconds= new_orders= writing_s= backup_s= backup_mib=
//
// Consul's state and the folders of all nodes are deleted. seconds is from the
// start of `tlsfleet restore-fleet` until each node reports all names, writing_s
// until the command has ended. new_orders is how many orders the CA, a Pebble,
// has got since for certificates that were put back and that it had issued, although
// all of their names are asked for again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// options are what the run is measured with.
type options struct {
	names    int
	domains  int
	tlsfleet string
	limit    time.Duration
	judge    bool
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "restore: error: %v\n", err)
		os.Exit(2)
	}
	os.Exit(lab.Main("restore", func(ctx context.Context, p *lab.Program) error {
		f, err := measure(ctx, p, o)
		if err != nil {
			return err
		}
		fmt.Println(f)
		if o.judge && f.orders != 0 {
			return fmt.Errorf("the CA has got %d new orders, want none", f.orders)
		}
		return nil
	}))
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("restore", flag.ContinueOnError)
	flags.IntVar(&o.names, "n", 10000, "names, each with a certificate of its own")
	flags.IntVar(&o.domains, "domains", 20, "of them, those obtained from the CA; the others are imported")
	flags.StringVar(&o.tlsfleet, "tlsfleet", "../bin/tlsfleet", "the tlsfleet binary")
	flags.DurationVar(&o.limit, "limit", 10*time.Minute, "what each part may take")
	flags.BoolVar(&o.judge, "judge", true, "end with 1 when a figure is not as expected")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 || o.domains < 1 || o.names <= o.domains {
		return o, errors.New("read arguments: unexpected ones, or fewer names than domains")
	}
	return o, nil
}

// figure is what the return of a fleet took.
type figure struct {
	nodes, names, orders    int
	all, writing, backingUp time.Duration
	backup                  int64 // bytes
}

// String is the figure's line.
func (f figure) String() string {
	return fmt.Sprintf("bench=restore who=tlsfleet nodes=%d names=%d seconds=%.1f new_orders=%d writing_s=%.1f backup_s=%.1f backup_mib=%.1f",
		f.nodes, f.names, f.all.Seconds(), f.orders, f.writing.Seconds(), f.backingUp.Seconds(), float64(f.backup)/(1<<20))
}

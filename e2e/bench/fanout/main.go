// Command fanout measures how long one changed certificate takes to reach many
// nodes that follow one Consul server: until its files are in place under the
// final name on each of them.
//
// The nodes are agents in this process, with the store, the folders and the
// planning of a whole one, but without reports and without a running nginx. All
// of them come from one address, so the test server allows more than the 200
// connections that Consul takes from one client by default; in a fleet every
// node asks the Consul agent beside it. For the same reason the folders are in
// memory, unless -dir says otherwise: in a fleet every node has a disk of its
// own. cpu_us is what one node spends on one change, with all that comes after
// the files, and consul_us what Consul spends on one node.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// options are what the run is measured with.
type options struct {
	watchers int
	names    int // certificates in the fleet
	rounds   int // changes
	pause    time.Duration
	dir      string // where the files are written; empty: in memory
	most     time.Duration
	profile  string // file for a CPU profile of the changes; empty: none
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "fanout: error: %v\n", err)
		os.Exit(2)
	}
	os.Exit(lab.Main("fanout", func(ctx context.Context, p *lab.Program) error {
		f, err := measure(ctx, p, o)
		if err != nil {
			return err
		}
		fmt.Println(f)
		if worst := f.at(99); o.most > 0 && worst > o.most {
			return fmt.Errorf("99 of 100 files are in place after %s, want at most %s", worst, o.most)
		}
		return nil
	}))
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("fanout", flag.ContinueOnError)
	flags.IntVar(&o.watchers, "watchers", 200, "nodes that follow the fleet")
	flags.IntVar(&o.names, "names", 20, "certificates in the fleet")
	flags.IntVar(&o.rounds, "rounds", 20, "changes, one at a time")
	flags.DurationVar(&o.pause, "pause", time.Second, "between changes")
	flags.StringVar(&o.dir, "dir", "", "folder on the file system to write to (default: in memory)")
	flags.DurationVar(&o.most, "most", 150*time.Millisecond, "end with 1 when it takes longer for 99 of 100; 0: never")
	flags.StringVar(&o.profile, "cpuprofile", "", "file for a CPU profile of the changes")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("read arguments: unexpected %q", flags.Arg(0))
	}
	return o, nil
}

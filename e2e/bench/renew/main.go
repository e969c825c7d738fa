// Command renew measures how long a renewed certificate takes to be served by
// all nodes of a fleet, without a reload. It prints
//
//	bench=renew who=tlsfleet nodes=3 p50_ms= p99_ms= reloads=0 n= asked_p50_ms= asked_p99_ms=
//
// p50_ms and p99_ms are from the moment at which the CA, a Pebble, gives out the
// new certificate, which a proxy in front of it sees, until a handshake with each
// node has shown it. asked_p50_ms and asked_p99_ms are from the start of
// `tlsfleet domain renew` until then. reloads is how often nginx was reloaded
// meanwhile, on all nodes together.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// options are what the run is measured with.
type options struct {
	names    int
	renewals int
	tlsfleet string
	most     time.Duration
	judge    bool
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "renew: error: %v\n", err)
		os.Exit(2)
	}
	os.Exit(lab.Main("renew", func(ctx context.Context, p *lab.Program) error {
		f, err := measure(ctx, p, o)
		if err != nil {
			return err
		}
		fmt.Println(f)
		if o.judge {
			return f.judge(o.most)
		}
		return nil
	}))
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("renew", flag.ContinueOnError)
	flags.IntVar(&o.names, "names", 20, "certificates in the fleet")
	flags.IntVar(&o.renewals, "n", 100, "renewals, one at a time")
	flags.StringVar(&o.tlsfleet, "tlsfleet", "../bin/tlsfleet", "the tlsfleet binary")
	flags.DurationVar(&o.most, "most", time.Second, "what 99 of 100 may take after the CA's answer")
	flags.BoolVar(&o.judge, "judge", true, "end with 1 when a figure is not as expected")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 || o.names < 1 || o.renewals < 1 {
		return o, errors.New("read arguments: unexpected ones, or a number below 1")
	}
	return o, nil
}

// figure is what renewals took.
type figure struct {
	nodes, reloads int
	answered       []time.Duration // from the CA's answer
	asked          []time.Duration // from the request
}

// String is the figure's line.
func (f figure) String() string {
	return fmt.Sprintf("bench=renew who=tlsfleet nodes=%d p50_ms=%.0f p99_ms=%.0f reloads=%d n=%d asked_p50_ms=%.0f asked_p99_ms=%.0f",
		f.nodes, ms(percentile(f.answered, 50)), ms(percentile(f.answered, 99)), f.reloads, len(f.answered),
		ms(percentile(f.asked, 50)), ms(percentile(f.asked, 99)))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// percentile of durations, by the nearest rank.
func percentile(of []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[max((len(sorted)*p+99)/100, 1)-1]
}

// errSlow is a figure that is not as expected.
var errSlow = errors.New("not as expected")

func (f figure) judge(most time.Duration) error {
	if worst := percentile(f.answered, 99); worst > most {
		return fmt.Errorf("%w: 99 of 100 renewals are served %s after the CA's answer, want at most %s", errSlow, worst, most)
	}
	if f.reloads > 0 {
		return fmt.Errorf("%w: %d reloads, want none", errSlow, f.reloads)
	}
	return nil
}

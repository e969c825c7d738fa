// Command issue compares ways to obtain many certificates from one CA, a Pebble
// that neither sleeps nor refuses nonces, by HTTP-01, with keys on P-256. It
// prints one line for each contestant and number of certificates worked on at a
// time:
//
//	bench=issue who= parallel= n= nonce_reject= certs_per_s= p50_ms= p99_ms= cpu_ms= ca_cpu_ms=
//
// n is how many certificates were obtained: fewer by a contestant that would take
// minutes. Pebble locks itself out now and then; whoever it was that asked it
// begins anew with another.
//
// lego and certmagic are libraries: as many goroutines as parallel says ask for
// one certificate after the other, and p50_ms and p99_ms are the times of these
// calls. tlsfleet is an agent with its nginx and a Consul: all names are given to
// `domain add` at once, acme { parallel } says how many it works on at a time,
// the rate is from the start of that command until all certificates can be read
// in Consul, and p50_ms and p99_ms are from the preflight of a name until its
// certificate is there. cpu_ms is the contestant's own CPU time for one
// certificate (tlsfleet: the agent), ca_cpu_ms Pebble's.
//
// With 8 in parallel tlsfleet is measured once more while the CA refuses good
// nonces. At the end three agents share the work while the one that leads is killed or
// frozen again and again, and the CA's own counts are printed:
//
//	bench=issue-once who=tlsfleet names= faults= orders= certificates= accounts=
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// The contestants.
const (
	legoName      = "lego"
	certmagicName = "certmagic"
	tlsfleetName  = "tlsfleet"
)

// options are what the run is measured with.
type options struct {
	certs    int
	parallel []int
	names    []string // contestants
	reject   int      // percent of nonces refused in the second pass
	faults   int      // 0: the leader is left alone and the part is left out
	tlsfleet string   // the tlsfleet binary
	judge    bool
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "issue: error: %v\n", err)
		os.Exit(2)
	}
	os.Exit(lab.Main("issue", func(ctx context.Context, p *lab.Program) error { return run(ctx, p, o) }))
}

func parse(args []string) (options, error) {
	var o options
	var parallel, names string
	flags := flag.NewFlagSet("issue", flag.ContinueOnError)
	flags.IntVar(&o.certs, "certs", 256, "most certificates of each contestant and number")
	flags.StringVar(&parallel, "parallel", "1,8,32", "certificates worked on at a time, with commas between")
	flags.StringVar(&names, "contestant", strings.Join([]string{legoName, certmagicName, tlsfleetName}, ","), "who is measured, with commas between; empty: nobody")
	flags.IntVar(&o.reject, "nonce-reject", 5, "percent of good nonces that the CA refuses in tlsfleet's second pass; 0: none")
	flags.IntVar(&o.faults, "faults", 10, "how often the leader is killed or frozen at the end; 0: leave that out")
	flags.StringVar(&o.tlsfleet, "tlsfleet", "../bin/tlsfleet", "the tlsfleet binary")
	flags.BoolVar(&o.judge, "judge", true, "end with 1 when a figure is not as expected")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("read arguments: unexpected %q", flags.Arg(0))
	}
	for text := range strings.SplitSeq(parallel, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			return o, fmt.Errorf("read -parallel: %q is no number above 0", text)
		}
		o.parallel = append(o.parallel, n)
	}
	for name := range strings.SplitSeq(names, ",") {
		if name != "" && contestants[name] == nil {
			return o, fmt.Errorf("read -contestant: %q is none of %s, %s, %s", name, legoName, certmagicName, tlsfleetName)
		}
		if name != "" {
			o.names = append(o.names, name)
		}
	}
	if o.certs < 1 || o.reject < 0 || o.reject > 90 || o.faults < 0 {
		return o, errors.New("read arguments: a number is out of range")
	}
	return o, nil
}

// rejected is how many certificates are worked on at a time while nonces are
// refused.
func (o options) rejected() int {
	const usual = 8
	if slices.Contains(o.parallel, usual) {
		return usual
	}
	return o.parallel[len(o.parallel)-1]
}

// slow is how many certificates each lane of a contestant gets, so that a run
// ends within a minute: lego looks every 5 seconds.
var slow = map[string]int{legoName: 6, certmagicName: 32}

// most is how many certificates a contestant obtains.
func (o options) most(who string, parallel int) int {
	if each, ok := slow[who]; ok {
		return min(o.certs, each*parallel)
	}
	return o.certs
}

// contestants obtain names from the CA of a scene.
var contestants = map[string]func(ctx context.Context, s *scene) error{
	legoName: legoObtains, certmagicName: certmagicObtains, tlsfleetName: tlsfleetObtains,
}

// run measures everything, and judges at the end.
func run(ctx context.Context, p *lab.Program, o options) error {
	var figures []figure
	for _, parallel := range o.parallel {
		for _, name := range o.names {
			f, err := measure(ctx, p, o, figure{who: name, parallel: parallel})
			if err != nil {
				return err
			}
			figures = append(figures, f)
		}
	}
	if o.reject > 0 && slices.Contains(o.names, tlsfleetName) {
		f, err := measure(ctx, p, o, figure{who: tlsfleetName, parallel: o.rejected(), reject: o.reject})
		if err != nil {
			return err
		}
		figures = append(figures, f)
	}
	var err error
	if o.judge {
		err = judge(figures)
	}
	if o.faults == 0 {
		return err
	}
	c, onceErr := once(ctx, p, o)
	if onceErr == nil && o.judge {
		onceErr = c.judge()
	}
	return errors.Join(err, onceErr)
}

// Command change compares ways to bring certificates from Consul into the
// files of an nginx, on real parts: what one changed certificate costs when
// there are n of them. It prints one line per contestant and n.
//
// Times begin when Consul has answered the write, for every contestant: what
// comes before is the same write of one who changes a certificate. file is
// until the new certificate is in place under its final name, served until a
// handshake with nginx has shown it; nobody reloads, because nginx reads the
// files at each handshake. bytes is what Consul sent to the contestant, and cpu
// its process's time, both of all changes by their number. cold is from the
// start of the process with empty folders to all n names in place; cold_cpu_s and
// cold_consul_cpu_s are what the contestant and Consul spend on that.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// The contestants.
const (
	templateName = "consul-template"
	tlsfleetName = "tlsfleet"
)

// options are what the run is measured with.
type options struct {
	sizes    []int
	names    []string // contestants
	template string   // the consul-template binary
	tlsfleet string   // the tlsfleet binary
	dir      string   // where the files are written; empty: the folder for temporary files
	changes  int      // of each contestant and size, at most
	limit    time.Duration
	every    time.Duration
	settle   time.Duration
	idle     time.Duration
	pages    bool // tlsfleet serves its dashboard
	judge    bool
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "change: error: %v\n", err)
		os.Exit(2)
	}
	os.Exit(lab.Main("change", func(ctx context.Context, p *lab.Program) error {
		figures, err := compare(ctx, p, o)
		if err == nil && o.judge {
			err = judge(figures)
		}
		return err
	}))
}

func parse(args []string) (options, error) {
	var o options
	var sizes, names string
	flags := flag.NewFlagSet("change", flag.ContinueOnError)
	flags.StringVar(&sizes, "n", "1000,10000,100000", "numbers of certificates, ascending, with commas between")
	flags.StringVar(&names, "contestant", templateName+","+tlsfleetName, "who is measured, with commas between")
	flags.StringVar(&o.template, "consul-template", "consul-template", "the consul-template binary")
	flags.StringVar(&o.tlsfleet, "tlsfleet", "../bin/tlsfleet", "the tlsfleet binary")
	flags.StringVar(&o.dir, "dir", "", "folder on the file system to write to (default: that for temporary files)")
	flags.IntVar(&o.changes, "changes", 100, "changes of each contestant and number, at most")
	flags.DurationVar(&o.limit, "limit", time.Minute, "time for them; three are made even so")
	flags.DurationVar(&o.every, "every", 550*time.Millisecond, "time from one change to the next, at least")
	flags.DurationVar(&o.settle, "settle", 5*time.Second, "pause after a start")
	flags.DurationVar(&o.idle, "idle", 3*time.Minute, "time to measure an idle tlsfleet for; what it does comes round in up to two minutes")
	flags.BoolVar(&o.pages, "pages", false, "have tlsfleet serve dashboard and metrics, and read them")
	flags.BoolVar(&o.judge, "judge", true, "end with 1 when a figure is not as expected")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("read arguments: unexpected %q", flags.Arg(0))
	}
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 || len(o.sizes) > 0 && n <= o.sizes[len(o.sizes)-1] {
			return o, fmt.Errorf("read -n: %q is no number above the one before", text)
		}
		o.sizes = append(o.sizes, n)
	}
	o.names = strings.Split(names, ",")
	for _, n := range o.names {
		if n != templateName && n != tlsfleetName {
			return o, fmt.Errorf("read -contestant: %q is none of %s, %s", n, templateName, tlsfleetName)
		}
	}
	return o, nil
}

// compare measures all contestants at each size. The certificates of a smaller
// size are part of the next.
func compare(ctx context.Context, p *lab.Program, o options) ([]figure, error) {
	s, err := newStock()
	if err != nil {
		return nil, err
	}
	server := testkit.Consul(p, testkit.ConsulDev())
	all := map[string]contestant{}
	for _, name := range o.names {
		if name == templateName {
			all[name] = &template{binary: o.template, consul: server.Client(p), stock: s}
			continue
		}
		t, err := newTLSFleet(ctx, p, o.tlsfleet, server.Addr, s)
		if err != nil {
			return nil, err
		}
		if o.pages {
			t.http = net.JoinHostPort("127.0.0.1", strconv.Itoa(testkit.FreePort(p, "127.0.0.1")))
		}
		all[name] = t
	}
	var figures []figure
	seeded := 0
	for _, n := range o.sizes {
		leaves, err := s.issueAll(ctx, seeded, n)
		if err != nil {
			return nil, err
		}
		for _, name := range o.names {
			began := time.Now()
			if err := all[name].seed(ctx, leaves); err != nil {
				return nil, err
			}
			p.Logf("%s: %d certificates more in Consul after %s", name, n-seeded, time.Since(began).Round(time.Millisecond))
		}
		seeded = n
		for _, name := range o.names {
			// It stays until the end: what one contestant removes would slow the next
			// one down, because ext4 without a journal passes over inodes freed lately.
			dir := o.folder(p)
			err := p.Sub(ctx, fmt.Sprintf("%s-%d", name, n), func(ctx context.Context, p *lab.Program) error {
				f, err := measure(ctx, p, o, scene{contestant: all[name], consul: server.Addr, server: server.PID(), stock: s, who: name, n: n, dir: dir})
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
	}
	return figures, nil
}

// folder is an empty one on the file system that is written to.
func (o options) folder(p *lab.Program) string {
	if o.dir == "" {
		return p.TempDir()
	}
	dir, err := os.MkdirTemp(filepath.Clean(o.dir), "tlsfleet-")
	if err != nil {
		p.Fatalf("make folder: %v", err)
	}
	p.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			p.Logf("remove folder: %v", err)
		}
	})
	return dir
}

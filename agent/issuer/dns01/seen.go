package dns01

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// ErrUnseen means that a record was set, and the name servers do not show it.
var ErrUnseen = errors.New("the record is not seen")

// How often name servers are asked for a record.
const (
	firstLook = 100 * time.Millisecond
	slowLook  = 5 * time.Second
)

// await waits until every name server of a record's zone shows it.
func (l lookup) await(ctx context.Context, r record, own []string, most time.Duration) error {
	if most <= 0 {
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var servers [][]string
	for _, server := range own {
		servers = append(servers, []string{server})
	}
	var last error // of a look that was not cut short
	for wait := firstLook; ; wait = min(wait*3/2, slowLook) {
		var err error
		if len(servers) == 0 {
			servers, err = l.authorities(limit, r.fqdn)
		}
		if err == nil {
			if err = shown(limit, servers, r); err == nil {
				return nil
			}
		}
		if last == nil || limit.Err() == nil {
			last = err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-limit.Done():
			timer.Stop()
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%w after %s: %w", ErrUnseen, most, last)
		}
	}
}

// shown is nil if every server shows a record.
func shown(ctx context.Context, servers [][]string, r record) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, addresses := range servers {
		g.Go(func() error { return shows(ctx, addresses, r) })
	}
	return g.Wait()
}

// shows asks one server, by the first of its addresses that answers.
func shows(ctx context.Context, addresses []string, r record) error {
	var all error
	for _, address := range addresses {
		answer, err := exchange(ctx, address, r.fqdn, dns.TypeTXT, false)
		if err != nil {
			all = errors.Join(all, err)
			continue
		}
		for _, rr := range answer.Answer {
			if txt, ok := rr.(*dns.TXT); ok && strings.Join(txt.Txt, "") == r.value {
				return nil
			}
		}
		return fmt.Errorf("%s does not show TXT %s", address, r.fqdn)
	}
	return all
}

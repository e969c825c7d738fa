package dns01

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/miekg/dns"
)

// Bounds of questions to DNS servers.
const (
	askTimeout = 5 * time.Second
	maxCNAMEs  = 50 // as lego follows
	dnsPort    = "53"
)

// errDNS is a question that nobody has answered.
var errDNS = errors.New("no answer from DNS")

// lookup asks DNS strictly: where lego takes a server that is silent for "there
// is nothing", this is an error.
type lookup struct {
	servers []string // recursive, host:port
	port    string   // of name servers; 53
}

// newLookup is with one server, or those of the host.
func newLookup(server string) lookup {
	l := lookup{port: dnsPort}
	if server != "" {
		l.servers = []string{server}
		return l
	}
	if c, err := dns.ClientConfigFromFile("/etc/resolv.conf"); err == nil {
		l.servers = dns01.ParseNameservers(c.Servers)
	}
	return l
}

// exchange asks one server, by TCP where UDP has no room.
func exchange(ctx context.Context, server, name string, kind uint16, recurse bool) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(name, kind)
	q.SetEdns0(1232, false)
	q.RecursionDesired = recurse
	for _, network := range []string{"udp", "tcp"} {
		client := &dns.Client{Net: network, Timeout: askTimeout}
		answer, _, err := client.ExchangeContext(ctx, q, server)
		if err != nil {
			return nil, fmt.Errorf("ask %s for %s %s: %w: %w", server, dns.TypeToString[kind], name, errDNS, err)
		}
		if answer.Truncated && network == "udp" {
			continue
		}
		if answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
			return nil, fmt.Errorf("ask %s for %s %s: %w: it says %s", server, dns.TypeToString[kind], name, errDNS, dns.RcodeToString[answer.Rcode])
		}
		return answer, nil
	}
	return nil, errDNS
}

// ask asks the recursive servers in turn until one has an answer.
func (l lookup) ask(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	err := fmt.Errorf("ask for %s: %w: no server is known; set acme.resolver", name, errDNS)
	for n, server := range l.servers {
		answer, oneErr := exchange(ctx, server, name, kind, true)
		if oneErr == nil {
			return answer.Answer, nil
		}
		if n == 0 {
			err = nil
		}
		err = errors.Join(err, oneErr)
	}
	return nil, err
}

// effective is where a record has to be: at the end of the CNAMEs of its name,
// unless lego is told not to follow them.
func (l lookup) effective(ctx context.Context, name string) (string, error) {
	if off, err := strconv.ParseBool(os.Getenv("LEGO_DISABLE_CNAME_SUPPORT")); err == nil && off {
		return name, nil
	}
	for range maxCNAMEs {
		answer, err := l.ask(ctx, name, dns.TypeCNAME)
		if err != nil {
			return "", err
		}
		next, ok := target(answer, name)
		if !ok {
			return name, nil
		}
		name = next
	}
	return "", fmt.Errorf("%w: more than %d CNAMEs in a row", errDNS, maxCNAMEs)
}

func target(answer []dns.RR, name string) (string, bool) {
	for _, rr := range answer {
		if c, ok := rr.(*dns.CNAME); ok && strings.EqualFold(c.Hdr.Name, name) {
			return c.Target, true
		}
	}
	return "", false
}

// authorities are the addresses of the name servers of a name's zone, those of
// one server together.
func (l lookup) authorities(ctx context.Context, name string) ([][]string, error) {
	zone, err := l.zone(ctx, name)
	if err != nil {
		return nil, err
	}
	answer, err := l.ask(ctx, zone, dns.TypeNS)
	if err != nil {
		return nil, err
	}
	var all [][]string
	for _, rr := range answer {
		ns, ok := rr.(*dns.NS)
		if !ok {
			continue
		}
		addresses, err := l.addresses(ctx, ns.Ns)
		if err != nil {
			return nil, err
		}
		all = append(all, addresses)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: zone %s names no server", errDNS, zone)
	}
	return all, nil
}

// zone is the zone that a name is in.
func (l lookup) zone(ctx context.Context, name string) (string, error) {
	for part := range dns01.DomainsSeq(name) {
		answer, err := l.ask(ctx, part, dns.TypeSOA)
		if err != nil {
			return "", err
		}
		if slices.ContainsFunc(answer, func(rr dns.RR) bool {
			return rr.Header().Rrtype == dns.TypeSOA && strings.EqualFold(rr.Header().Name, part)
		}) {
			return part, nil
		}
	}
	return "", fmt.Errorf("%w: %s is in no zone", errDNS, name)
}

func (l lookup) addresses(ctx context.Context, host string) ([]string, error) {
	var all []string
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		answer, err := l.ask(ctx, host, kind)
		if err != nil {
			return nil, err
		}
		for _, rr := range answer {
			switch rr := rr.(type) {
			case *dns.A:
				all = append(all, net.JoinHostPort(rr.A.String(), l.port))
			case *dns.AAAA:
				all = append(all, net.JoinHostPort(rr.AAAA.String(), l.port))
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: name server %s has no address", errDNS, host)
	}
	return all, nil
}

package agent

import (
	"fmt"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func TestReachFindsAnotherNodesSocket(t *testing.T) {
	for name, c := range map[string]struct {
		listen, address string
		local           bool
		want            string
	}{
		"port alone":           {listen: "443", address: "127.0.0.1:443", want: "10.0.0.2:443"},
		"asterisk":             {listen: "*:8443", address: "127.0.0.1:8443", want: "10.0.0.2:8443"},
		"any IPv4 address":     {listen: "0.0.0.0:443", address: "127.0.0.1:443", want: "10.0.0.2:443"},
		"any IPv6 address":     {listen: "[::]:443", address: "[::1]:443", want: "10.0.0.2:443"},
		"one address":          {listen: "10.0.0.9:443", address: "10.0.0.9:443", want: "10.0.0.9:443"},
		"its own loopback":     {listen: "127.0.0.1:8443", address: "127.0.0.1:8443", want: ""},
		"all nodes on a host":  {listen: "127.0.0.3:8443", address: "127.0.0.3:8443", local: true, want: "127.0.0.3:8443"},
		"unix socket":          {listen: "unix:/run/x.sock", address: "/run/x.sock", want: ""},
		"address that is none": {listen: "443", address: "evil", want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := reach(fleet.ListenerProof{Listen: c.listen, Address: c.address}, "10.0.0.2", c.local); got != c.want {
				t.Errorf("reach() = %q, want %q", got, c.want)
			}
		})
	}
}

func TestPairTakesSocketsThatBothHave(t *testing.T) {
	seen := []fleet.TicketSeen{{Version: "1.3"}}
	proof := func(listen string, tls []fleet.TicketSeen) fleet.ListenerProof {
		return fleet.ListenerProof{Listen: listen, Address: "127.0.0.1:443", TLS: tls}
	}
	own := func(listen string) fleet.Listener {
		return fleet.Listener{Network: "tcp", Address: "127.0.0.1:443", Listen: listen, ServerName: "a.test", ProxyProto: true}
	}
	for name, c := range map[string]struct {
		ls           []fleet.Listener
		mine, theirs []fleet.ListenerProof
		want         bool
	}{
		"same":              {[]fleet.Listener{own("443")}, []fleet.ListenerProof{proof("443", seen)}, []fleet.ListenerProof{proof("443", seen)}, true},
		"same place":        {[]fleet.Listener{own("10.0.0.1:443")}, []fleet.ListenerProof{proof("10.0.0.1:443", seen)}, []fleet.ListenerProof{proof("*:443", seen)}, true},
		"nothing proved":    {[]fleet.Listener{own("443")}, []fleet.ListenerProof{proof("443", seen)}, []fleet.ListenerProof{proof("443", []fleet.TicketSeen{{Err: "x"}})}, false},
		"spoken by neither": {[]fleet.Listener{own("443")}, []fleet.ListenerProof{proof("443", []fleet.TicketSeen{{Absent: true}})}, []fleet.ListenerProof{proof("443", seen)}, false},
		"other places":      {[]fleet.Listener{own("443")}, []fleet.ListenerProof{proof("443", seen)}, []fleet.ListenerProof{proof("1", seen), proof("2", seen)}, false},
		"out of reach":      {[]fleet.Listener{own("127.0.0.1:443")}, []fleet.ListenerProof{proof("127.0.0.1:443", seen)}, []fleet.ListenerProof{proof("127.0.0.1:443", seen)}, false},
		"gone since":        {nil, []fleet.ListenerProof{proof("443", seen)}, []fleet.ListenerProof{proof("443", seen)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			from, to, ok := pair(c.ls, c.mine, c.theirs, "10.0.0.2", false)
			if ok != c.want {
				t.Fatalf("pair() = %v, want %v", ok, c.want)
			}
			if ok && (from.Address != "127.0.0.1:443" || to.Address != "10.0.0.2:443" || to.ServerName != "a.test" || !to.ProxyProto) {
				t.Errorf("pair() = %+v and %+v, want the other node's address with this node's name and PROXY header", from, to)
			}
		})
	}
}

func TestTokenThatSeesNoOtherNodeIsAProblem(t *testing.T) {
	p := &resumption{problems: newProblems(func() {})}
	p.looked(fmt.Errorf("read nodes/b: %w", store.ErrDenied))
	if got := p.problems.list(); len(got) != 1 || got[0].Code != "resumption-denied" || got[0].Severity != fleet.Warning {
		t.Errorf("problems = %+v, want the warning resumption-denied", got)
	}
	p.looked(errNoPeer)
	if got := p.problems.list(); len(got) > 0 {
		t.Errorf("problems once it is allowed = %+v, want none", got)
	}
}

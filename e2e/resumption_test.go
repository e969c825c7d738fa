package e2e

import (
	"fmt"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestTicketsAreOfferedToOtherNodes(t *testing.T) {
	addrs := map[int]string{}
	f := NewFleet(t, FleetOptions{Node: withHTTP(t, addrs), Settings: Settings{"ticket.resume_every": "1s"}})
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	f.Await(t, "tickets of every node to be taken by others", func(s Status) error {
		for _, n := range s.Nodes {
			if r := n.Report.Resumption; r.Offered < 3 || r.Resumed != r.Offered || r.Peer == n.Node {
				return fmt.Errorf("%s offered %d to others, %s last, of which %d were taken: %s", n.Node, r.Offered, r.Peer, r.Resumed, r.Err)
			}
		}
		return nil
	})
	_, text, err := get(t, addrs[0], "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	got, err := sample(text, `tlsfleet_resumption_probes_total{result="resumed"}`)
	if err != nil || got < 3 {
		t.Errorf("resumption probes = %v, %v, want 3 or more", got, err)
	}
}

// TestTicketsThatOthersRefuseAreAnAlarm has nodes that differ in the certificate
// of their default server, which old versions of nginx tie tickets to: each seals
// with the ring's key, and none takes another's tickets.
func TestTicketsThatOthersRefuseAreAnAlarm(t *testing.T) {
	f := NewFleet(t, FleetOptions{
		Nodes: 2, Settings: Settings{"ticket.resume_every": "1s", "nginx.default_servers": []string{}},
		Nginx: func(_ int, o *testkit.NginxOptions) { o.CertPEM, o.KeyPEM = testkit.SelfSigned(t, serverName) },
	})
	f.Nodes[0].AwaitProblem(t, "resumption-broken")
	f.Nodes[1].AwaitProblem(t, "resumption-broken")
	if s := f.Status(t); s.Proved != 2 {
		t.Errorf("%d nodes have proved the ring, want 2: the keys are not what is wrong", s.Proved)
	}
}

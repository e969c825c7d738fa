package lab

import (
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"text/template"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// balancerAddress is apart from the nodes' addresses.
const balancerAddress = "127.0.0.10"

// streamModule is where Debian's libnginx-mod-stream has the module; an nginx
// with stream built in has no such file.
const streamModule = "/usr/lib/nginx/modules/ngx_stream_module.so"

// Balancer passes TCP connections on to the nodes and knows nothing of TLS.
type Balancer struct {
	RoundRobin string // "address:port" that takes one node after the other
	BySource   string // "address:port" that goes by the source address, see sourceAddress
	nginx      *testkit.Nginx
}

var balancerConfig = template.Must(template.New("stream").Parse(`
{{if .Module}}load_module {{.Module}};{{end}}
stream {
	upstream fleet {
{{- range .Nodes}}
		server {{index .Nginx.TLSAddrs 0}};
{{- end}}
	}
	geo $by_source {
{{- range $i, $n := .Nodes}}
		127.1.{{$i}}.0/24 {{index $n.Nginx.TLSAddrs 0}};
{{- end}}
	}
	server {
		listen {{.B.RoundRobin}} backlog=4096;
		proxy_pass fleet;
	}
	server {
		listen {{.B.BySource}} backlog=4096;
		proxy_pass $by_source;
	}
}
`))

func newBalancer(tb testkit.TB, nodes []*Node) *Balancer {
	b := &Balancer{RoundRobin: freeAddress(tb), BySource: freeAddress(tb)}
	module := streamModule
	if _, err := os.Stat(module); err != nil {
		module = ""
	}
	var text strings.Builder
	if err := balancerConfig.Execute(&text, struct {
		B      *Balancer
		Nodes  []*Node
		Module string
	}{b, nodes, module}); err != nil {
		tb.Fatalf("configure balancer: %v", err)
	}
	// The TLS server that every testkit nginx has is not used here.
	b.nginx = testkit.NewNginx(tb, testkit.NginxOptions{Address: balancerAddress, Main: text.String(), NoInclude: true})
	return b
}

func freeAddress(tb testkit.TB) string {
	return net.JoinHostPort(balancerAddress, strconv.Itoa(testkit.FreePort(tb, balancerAddress)))
}

// sourceAddress is an address of client i from which BySource leads to node n.
func sourceAddress(n, i int) net.IP {
	return net.IPv4(127, 1, byte(n), byte(1+i%250)) //nolint:gosec // NewFleet makes 9 nodes at most
}

// otherThan is a random node of size nodes that is not n; n if it is alone.
func otherThan(n, size int) int {
	if size < 2 {
		return n
	}
	return (n + 1 + rand.IntN(size-1)) % size //nolint:gosec // any node will do
}

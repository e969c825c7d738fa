package doctor

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tlsfleet/tlsfleet/renderer"
)

// nginx from which on it can do what some promise needs.
const (
	nginxOldest   = "1.19.4" // ssl_reject_handshake; certificates by variable since 1.15.9
	nginxTimeouts = "1.23.2" // ssl_session_timeout for tickets of TLS 1.3
	nginxCache    = "1.27.4" // ssl_certificate_cache, keepalive_min_timeout
	nginxContexts = "1.29.2" // a server's certificate decides which tickets it takes
)

// Nginx is what was found of nginx on this host.
type Nginx struct {
	Binary      string
	Survey      renderer.Survey
	Err         error // of the survey
	Running     bool
	Process     error // what is wrong with the process
	Test        error // of nginx -t
	Root        bool  // root asks
	IncludeLine string
}

// Judge gives the findings about nginx.
func (n Nginx) Judge() []Finding {
	list := []Finding{n.version(), n.process(), n.test()}
	if n.Survey.NginxVersion == "" || n.Err != nil {
		for _, id := range []string{"nginx-include", "nginx-default-servers", "nginx-ticket-keys", "nginx-names", "nginx-paths", "nginx-old-workers", "nginx-protocols", "nginx-renewals"} {
			list = append(list, skipped(id, "", "nginx's configuration cannot be read: %v", n.Err))
		}
		return list
	}
	s := n.Survey
	return append(list, n.include(), n.keys(),
		spots("nginx-default-servers", Warning, s.Certified,
			"name these sockets in default_servers, and remove default_server there",
			"the default server of a socket has a certificate of its own, whose renewal ends the tickets of all names on it: %s",
			"no default server has a certificate of its own"),
		spots("nginx-names", Warning, s.Twice, "remove the name from one of the two servers",
			"nginx ignores the second server of a name: %s", "no name has two servers"),
		spots("nginx-paths", Failure, s.RawNames, "put the name through a map that lets only [a-z0-9._-] without .. through",
			"a client chooses the path with $ssl_server_name, ../ included: %s", "no path has what a client asks for in it"),
		spots("nginx-protocols", Warning, s.NoTLS13, "ssl_protocols TLSv1.2 TLSv1.3;",
			"TLS 1.3 is left out: %s", "TLS 1.3 is not left out"),
		n.oldWorkers(), n.renewals())
}

func (n Nginx) version() Finding {
	const id = "nginx"
	v := n.Survey.NginxVersion
	switch {
	case v == "":
		return failure(id, "install nginx, or set binary in the block nginx", "%s: %v", n.Binary, n.Err)
	case Older(v, nginxOldest):
		return failure(id, "upgrade nginx to "+nginxCache+" or later", "nginx %s has no ssl_reject_handshake: %s is the least", v, nginxOldest)
	case Older(v, nginxTimeouts):
		return warning(id, "upgrade nginx to "+nginxCache+" or later",
			"nginx %s does not hold tickets of TLS 1.3 to ssl_session_timeout, reads certificates at each handshake, and cuts keep-alive connections at a reload", v)
	case Older(v, nginxCache):
		return ok(id, "nginx %s; %s would also cache certificates and close keep-alive connections softly at a reload", v, nginxCache)
	}
	return ok(id, "nginx %s", v)
}

func (n Nginx) process() Finding {
	const id = "nginx-process"
	switch {
	case n.Process != nil && !n.Root:
		return skipped(id, asRoot, "%v", n.Process)
	case n.Process != nil:
		return failure(id, "set pid_file and config_file in the block nginx to what nginx runs with", "%v", n.Process)
	case !n.Running:
		return warning(id, "systemctl start nginx", "nginx does not run, by its pid file")
	}
	return ok(id, "nginx runs, and the pid file names its master")
}

func (n Nginx) test() Finding {
	const id = "nginx-test"
	switch {
	case n.Test == nil:
		return ok(id, "nginx -t accepts the configuration")
	case !n.Root:
		return skipped(id, asRoot, "nginx -t says nothing to who is not root")
	case errors.Is(n.Test, renderer.ErrRefused):
		return failure(id, "mend what nginx names: it cannot be reloaded, nor started again", "%v", n.Test)
	}
	return failure(id, "set binary in the block nginx", "%v", n.Test)
}

func (n Nginx) include() Finding {
	const id = "nginx-include"
	switch s := n.Survey; {
	case !s.Included:
		return failure(id, "put "+n.IncludeLine+" into the http block, before any server", "nginx does not read tlsfleet's releases")
	case s.Partial():
		return warning(id, "let this user read every file that nginx's configuration includes, or run it as root", "nginx's configuration cannot be read in full, so not all is known")
	}
	return ok(id, "the http block includes the releases")
}

// keys judges what hides the ring, and what only looks as if it did.
func (n Nginx) keys() Finding {
	const id = "nginx-ticket-keys"
	const mend = "remove it: the fleet's ring is the only source of ticket keys"
	for _, p := range n.Survey.Problems {
		if p.Code == renderer.CodeKeyHidden {
			return failure(id, mend, "%s", p.Message)
		}
	}
	return spots(id, Warning, n.Survey.IgnoredKeys, mend, "nginx takes no ticket keys from a server that is not the default one: %s",
		"no ssl_session_ticket_key beside the ring")
}

// renewals judges certificates that nginx loads with its configuration.
func (n Nginx) renewals() Finding {
	const id = "nginx-renewals"
	if held := slices.Sorted(maps.Keys(n.Survey.HeldNames)); len(held) > 0 && !Older(n.Survey.NginxVersion, nginxContexts) {
		return warning(id, `mode = "auto" in the block certificates, and server_include in place of servers of your own`,
			"nginx %s ends the tickets of a name when its certificate is renewed, if the server names the file, as it does for %s", n.Survey.NginxVersion, few(held))
	}
	return ok(id, "a renewal ends no tickets")
}

func (n Nginx) oldWorkers() Finding {
	const id = "nginx-old-workers"
	if n.Survey.ShutdownLimit {
		return ok(id, "worker_shutdown_timeout ends old workers")
	}
	return warning(id, "worker_shutdown_timeout 1h; at the top of nginx's configuration, or what your longest connection needs",
		"old workers keep old ticket keys in memory for as long as a client stays")
}

// spots is one finding about places in nginx's configuration.
func spots(id string, l Level, found []renderer.Spot, mend, bad, good string) Finding {
	if len(found) == 0 {
		return ok(id, "%s", good)
	}
	var places []string
	for _, s := range found {
		places = append(places, fmt.Sprintf("%s (%s)", s.Place, s.What))
	}
	return Finding{id, l, fmt.Sprintf(bad, few(places)), mend}
}

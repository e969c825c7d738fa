package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// finish fills in the defaults that depend on the host or on other values, and
// checks what single values cannot show.
func (r *reader) finish() {
	if !r.given("fleet") {
		r.add(1, "fleet is missing", `name the fleet this node belongs to: fleet = "edge"`)
	}
	r.fillNode()
	r.fillSocket()
	r.checkFolders()
	r.checkKeyring()
	r.checkConsul()
	r.checkRing()
	r.checkCertificates()
	r.checkDomains()
	r.checkHTTP()
	if c := r.cfg.Reload; c.MaxQuiet < c.Quiet && r.sound("reload.max_quiet", "reload.quiet") {
		r.add(r.line("reload.max_quiet", "reload.quiet"),
			fmt.Sprintf("reload.max_quiet %s is shorter than reload.quiet %s", short(c.MaxQuiet), short(c.Quiet)),
			"raise max_quiet or lower quiet")
	}
}

func (r *reader) checkCertificates() {
	c := r.cfg.Certificates
	if c.Mode.Rendered() && len(c.Listen) == 0 && r.sound("certificates.mode", "certificates.listen") {
		r.add(r.line("certificates.mode"), fmt.Sprintf("certificates.mode %q needs certificates.listen", c.Mode),
			`say where the rendered servers listen: listen = ["443 ssl"]`)
	}
	if !r.sound("certificates.mode", "certificates.gateway_socket", "socket") {
		return
	}
	if c.Mode == CertOnDemand && c.GatewaySocket == "" {
		r.add(r.line("certificates.mode"), fmt.Sprintf("certificates.mode %q needs certificates.gateway_socket", c.Mode),
			fmt.Sprintf("say where nginx asks for certificates: gateway_socket = %q", filepath.Join(r.cfg.RunDir, "certificates.sock")))
	}
	if c.GatewaySocket != "" && c.GatewaySocket == r.cfg.Socket {
		r.add(r.line("certificates.gateway_socket"), "certificates.gateway_socket is the agent's socket",
			"give another path: who may hand over events need not read private keys")
	}
}

// checkDomains keeps the sockets apart, each with one permission.
func (r *reader) checkDomains() {
	c := r.cfg.ACME
	if !r.sound("acme.domains_socket", "acme.domains_group", "certificates.gateway_socket", "socket") {
		return
	}
	switch c.DomainsSocket {
	case "":
		if c.DomainsGroup != "" {
			r.add(r.line("acme.domains_group"), "acme.domains_group needs acme.domains_socket",
				fmt.Sprintf("say where programs ask: domains_socket = %q", filepath.Join(r.cfg.RunDir, "domains.sock")))
		}
	case r.cfg.Socket:
		r.add(r.line("acme.domains_socket"), "acme.domains_socket is the agent's socket",
			"give another path: who may hand over events need not add or remove certificates")
	case r.cfg.Certificates.GatewaySocket:
		r.add(r.line("acme.domains_socket"), "acme.domains_socket is certificates.gateway_socket",
			"give another path: who may have certificates obtained need not read private keys")
	}
}

func (r *reader) fillNode() {
	if r.cfg.Node != "" || r.bad["node"] {
		return
	}
	host, err := os.Hostname()
	if err != nil {
		r.add(1, "node is missing and the host has no name: "+err.Error(), `add node = "a name"`)
		return
	}
	if m := isName(host); m != nil {
		r.add(1, "node is missing and the host's name does not serve: "+m.what, `add node = "a name"`)
		return
	}
	r.cfg.Node = host
}

func (r *reader) fillSocket() {
	if r.cfg.Socket != "" || !r.sound("socket", "run_dir") {
		return
	}
	r.cfg.Socket = filepath.Join(r.cfg.RunDir, "agent.sock")
	if m := isSocketPath(r.cfg.Socket); m != nil {
		r.add(r.line("run_dir"), "the agent's socket in run_dir: "+m.what, "shorten run_dir or give socket")
	}
}

// checkFolders keeps keys off the disk and state off tmpfs.
func (r *reader) checkFolders() {
	if !r.sound("run_dir", "state_dir") {
		return
	}
	state, run := r.cfg.StateDir+"/", r.cfg.RunDir+"/"
	if strings.HasPrefix(state, run) || strings.HasPrefix(run, state) {
		r.add(r.line("run_dir", "state_dir"),
			fmt.Sprintf("run_dir %q and state_dir %q are not apart", r.cfg.RunDir, r.cfg.StateDir),
			"choose folders of which none is in the other: run_dir is lost at a reboot, state_dir is not")
	}
}

func (r *reader) checkConsul() {
	if !r.sound("consul.token", "consul.token_file", "consul.cert_file", "consul.key_file",
		"consul.address", "consul.scheme") {
		return
	}
	c := r.cfg.Consul
	if c.Token.Len() > 0 && c.TokenFile != "" {
		r.add(r.line("consul.token"), "consul.token and consul.token_file are both given", "keep token_file")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		r.add(r.line("consul.cert_file", "consul.key_file"), "consul.cert_file and consul.key_file need each other",
			"give both or none")
	}
	scheme, _, found := strings.Cut(c.Address, "://")
	if found && c.Scheme != "" && c.Scheme != scheme {
		r.add(r.line("consul.scheme"), fmt.Sprintf("consul.scheme %q is not that of consul.address %q", c.Scheme, c.Address),
			"remove scheme")
	}
}

// checkRing refuses times for which a ring would need more keys than it can
// hold: next and current, and as previous ones all that a live ticket may
// still have been sealed with.
func (r *reader) checkRing() {
	if !r.sound("ticket.rotate_every", "ticket.session_timeout", "ticket.apply_lag") {
		return
	}
	t := r.cfg.Ticket
	const room = fleet.MaxRingKeys - 2
	life := t.SessionTimeout + t.ApplyLag
	need := int64((life+t.RotateEvery-1)/t.RotateEvery) + 1
	if need <= room {
		return
	}
	least := (life / (room - 1)).Truncate(time.Second) + time.Second
	r.add(r.line("ticket.session_timeout", "ticket.rotate_every", "ticket.apply_lag"),
		fmt.Sprintf("ticket.session_timeout %s with apply_lag %s needs %d previous keys at rotate_every %s, a ring holds %d",
			short(t.SessionTimeout), short(t.ApplyLag), need, short(t.RotateEvery), room),
		fmt.Sprintf("lower session_timeout, or raise rotate_every to %s", short(least)))
}

// given reports whether the file has the attribute, right or wrong.
func (r *reader) given(full string) bool {
	_, ok := r.lines[full]
	return ok
}

// sound reports whether none of the attributes was refused: a second error
// about a value that is already wrong helps nobody.
func (r *reader) sound(full ...string) bool {
	for _, f := range full {
		if r.bad[f] {
			return false
		}
	}
	return true
}

// line is the line of the first of the attributes that the file has, else 1.
func (r *reader) line(full ...string) int {
	for _, f := range full {
		if n, ok := r.lines[f]; ok {
			return n
		}
	}
	return 1
}

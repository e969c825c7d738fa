package doctor

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"
)

// oldestConsul is the first that has all that tlsfleet asks for, get-or-empty in
// transactions; testedConsul the first that it is tested with.
const (
	oldestConsul = "1.14"
	testedConsul = "1.18"
)

// Consul is what was found of Consul.
type Consul struct {
	Address   string
	Here      bool // on this host
	TLS       bool
	Reach     error // nil: it answers and has a leader
	Local     error // nil: it told about itself
	Version   string
	Encrypted bool // gossip
}

// Judge gives the findings about the way to Consul and itself.
func (c Consul) Judge() []Finding {
	if c.Reach != nil {
		reach := failure("consul", "start the local Consul agent, or mend the block consul: address, ca_file, token_file", "%s: %v", c.Address, c.Reach)
		if errors.Is(c.Reach, fs.ErrPermission) {
			reach = unseen("consul", c.Reach)
		}
		list := []Finding{reach, c.link()}
		for _, id := range []string{"consul-version", "consul-gossip"} {
			list = append(list, skipped(id, "", "Consul does not answer"))
		}
		return list
	}
	list := []Finding{ok("consul", "%s answers and has a leader", c.Address), c.link()}
	if c.Local != nil {
		const mend = "give the token of `tlsfleet policy`, which may read the local agent"
		return append(list, skipped("consul-version", mend, "%v", c.Local), skipped("consul-gossip", mend, "%v", c.Local))
	}
	return append(list, c.version(), c.gossip())
}

func (c Consul) link() Finding {
	const id = "consul-tls"
	switch {
	case c.Here:
		return ok(id, "Consul is spoken to on this host")
	case c.TLS:
		return ok(id, "Consul is spoken to by TLS")
	}
	return failure(id, `use a Consul agent on this host, or address = "https://..." with ca_file`,
		"the token goes to %s in clear", c.Address)
}

func (c Consul) version() Finding {
	const id = "consul-version"
	if Older(c.Version, oldestConsul) {
		return failure(id, "upgrade Consul to "+testedConsul+" or later", "Consul %s does not know all that tlsfleet asks for", c.Version)
	}
	if Older(c.Version, testedConsul) {
		return warning(id, "upgrade Consul to "+testedConsul+" or later", "Consul %s is older than any that tlsfleet is tested with", c.Version)
	}
	return ok(id, "Consul %s", c.Version)
}

func (c Consul) gossip() Finding {
	const id = "consul-gossip"
	if c.Encrypted {
		return ok(id, "gossip is encrypted")
	}
	return warning(id, "consul keygen, then encrypt = \"...\" in Consul's configuration on all hosts",
		"gossip is not encrypted: whoever reaches port 8301 can join, read events and send them")
}

// Older reports whether version a is before b, both as "1.22.1". What is no
// number counts as 0.
func Older(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range bs {
		x, y := 0, number(bs[i])
		if i < len(as) {
			x = number(as[i])
		}
		if x != y {
			return x < y
		}
	}
	return false
}

func number(s string) int {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		s = s[:end]
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// Access is what Consul says of the token.
type Access struct {
	Role  string   // that the node's token is for
	Open  bool     // there is no access control
	Err   error    // it could not be asked
	Lacks []string // of what the role needs
	Wide  []string // of what nobody needs
}

// Judge gives the findings "consul-acl", what the token can do too much, and
// "consul-rights", what it cannot do.
func (a Access) Judge() []Finding {
	const wide, rights = "consul-acl", "consul-rights"
	const open = "Consul's access control is off: whoever reaches it can take every node's certificates away, or end the leader"
	switch {
	case a.Open:
		return []Finding{warning(wide, `acl { enabled = true, default_policy = "deny" } in Consul, and a token by tlsfleet policy`, open), ok(rights, "access control is off")}
	case a.Err != nil:
		return []Finding{skipped(wide, "", "%v", a.Err), skipped(rights, "", "%v", a.Err)}
	}
	list := []Finding{ok(wide, "the token can do no more than it should"), ok(rights, "the token can do all that the role %s needs", a.Role)}
	if len(a.Wide) > 0 {
		list[0] = warning(wide, "make a token of what `tlsfleet policy "+a.Role+"` prints", "the token can do too much: %s", few(a.Wide))
	}
	if len(a.Lacks) > 0 {
		mend := "make a token of what `tlsfleet policy " + a.Role + "` prints"
		if a.Role == "leader" {
			mend += ", or set eligible = false in the block leader"
		}
		list[1] = failure(rights, mend, "the token cannot do what the role %s needs: %s", a.Role, few(a.Lacks))
	}
	return list
}

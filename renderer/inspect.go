package renderer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Inspection is what nginx's configuration on disk says, the active release
// included.
type Inspection struct {
	NginxVersion   string           // "1.22.1"
	Included       bool             // the http block includes the current release, or that cannot be known
	Listeners      []fleet.Listener // every TLS listen socket of http servers
	SessionTimeout time.Duration    // the longest ssl_session_timeout of the listeners' default servers
	Problems       []fleet.Problem  // include-missing, ticket-key-hidden, config-unparsed
	// HeldNames are the names whose files under StateDir/live nginx loads when
	// it reads its configuration, each with the places that say so
	// ("file:line"): a change of these needs a reload.
	HeldNames map[string][]string

	parsed    bool            // in full: every listener is known
	errorLog  string          // main error log; "" if not known
	own       map[string]bool // directives the operator sets at http level
	late      []at            // map_hash directives of the operator after our include
	mapBefore *at             // first map before our include: nginx takes no sizes of map tables after it
	config    *config         // nil if not parsed at all
}

// NginxVersion asks the binary: "1.22.1". It is much cheaper than Inspect.
func (r *Renderer) NginxVersion(ctx context.Context) (string, error) {
	b, err := r.build(ctx)
	return b.version, err
}

// Inspect asks nginx for its version and reads its configuration through all
// includes. A configuration that cannot be parsed in part gives what can be
// read, with the problem config-unparsed.
func (r *Renderer) Inspect(ctx context.Context) (Inspection, error) {
	b, err := r.build(ctx)
	if err != nil {
		return Inspection{}, fmt.Errorf("inspect nginx: %w", err)
	}
	c, err := r.parse()
	if err != nil {
		return Inspection{NginxVersion: b.version}, fmt.Errorf("inspect nginx: %w", err)
	}
	in := r.inspect(c)
	in.NginxVersion = b.version
	return in, nil
}

func (r *Renderer) inspect(c *config) Inspection {
	in := Inspection{parsed: true, errorLog: c.errorLog(), config: c, HeldNames: c.heldNames(r.cfg.liveDir())}
	if why := c.unread(); why != nil {
		in.parsed = false
		in.Problems = append(in.Problems, unparsed(why))
	}
	level := httpLevel(c)
	// What was not read may hold the include: the release number will tell.
	in.Included, in.own, in.late = level.included || !in.parsed, level.own, level.late
	in.mapBefore = level.mapBefore
	if !in.Included {
		in.Problems = append(in.Problems, r.includeMissing())
	}
	in.Listeners, in.SessionTimeout = listeners(c, level, served{r.cfg.liveDir()})
	in.Problems = append(in.Problems, hiddenKeys(in.Listeners, level.keyBefore)...)
	return in
}

// hiddenKeys is one problem that names every place where a key of the
// operator seals instead of the ring.
func hiddenKeys(ls []fleet.Listener, before *at) []fleet.Problem {
	if before != nil {
		return []fleet.Problem{problem(CodeKeyHidden, fleet.Alarm,
			fmt.Sprintf("ssl_session_ticket_key at %s stands before the include of tlsfleet, so that key seals every ticket", before.place()),
			"remove it: the fleet's ring is the only source of ticket keys")}
	}
	var places []string
	for _, l := range ls {
		if l.HiddenBy != "" {
			places = append(places, fmt.Sprintf("%s (listen %s)", l.HiddenBy, l.Listen))
		}
	}
	if len(places) == 0 {
		return nil
	}
	return []fleet.Problem{problem(CodeKeyHidden, fleet.Alarm,
		"ssl_session_ticket_key of a default server hides the fleet's ring: "+strings.Join(places, "; "),
		"remove it: the fleet's ring is the only source of ticket keys")}
}

// level is what is set at http level.
type level struct {
	settings  settings
	servers   []at
	included  bool            // our include was seen
	own       map[string]bool // directives outside of our release
	keyBefore *at             // first ssl_session_ticket_key before our include
	late      []at            // map_hash directives of the operator after our include
	mapBefore *at             // first map before our include: nginx takes no sizes of map tables after it
}

func httpLevel(c *config) level {
	l := level{own: map[string]bool{}}
	for _, d := range c.http() {
		ours := c.isOurs(d.file)
		switch d.Directive.Directive {
		case "server":
			l.servers = append(l.servers, d)
		case "map":
			if !ours && !l.included && l.mapBefore == nil {
				l.mapBefore = &d
			}
		case "ssl_session_ticket_key":
			if !ours && !l.included && l.keyBefore == nil {
				l.keyBefore = &d
			}
		}
		if !ours && l.included && strings.HasPrefix(d.Directive.Directive, "map_hash_") {
			l.late = append(l.late, d)
		}
		if !ours {
			l.own[d.Directive.Directive] = true
		}
		l.included = l.included || c.isOurInclude(d.Directive)
		l.settings.read(d)
	}
	return l
}

// settings are the directives that matter here, as far as one level sets them.
type settings struct {
	certificate string // first ssl_certificate
	several     bool   // more than one, for clients to take from
	reject      string // ssl_reject_handshake
	tickets     string // ssl_session_tickets
	timeout     string // ssl_session_timeout
	ssl         string // ssl on, before nginx 1.25.1
	ownKey      *at    // first ssl_session_ticket_key
}

func (s *settings) read(d at) {
	if len(d.Args) == 0 {
		return
	}
	arg := d.Args[0]
	switch d.Directive.Directive {
	case "ssl_certificate":
		s.several = s.certificate != ""
		if !s.several {
			s.certificate = arg
		}
	case "ssl_reject_handshake":
		s.reject = strings.ToLower(arg)
	case "ssl_session_tickets":
		s.tickets = strings.ToLower(arg)
	case "ssl_session_timeout":
		s.timeout = arg
	case "ssl":
		s.ssl = strings.ToLower(arg)
	case "ssl_session_ticket_key":
		if s.ownKey == nil {
			s.ownKey = &d
		}
	}
}

// under is s with what it does not set taken from outer, except keys.
func (s settings) under(outer settings) settings {
	inherit := func(own *string, from string) {
		if *own == "" {
			*own = from
		}
	}
	s.several = s.several || s.certificate == "" && outer.several
	inherit(&s.certificate, outer.certificate)
	inherit(&s.reject, outer.reject)
	inherit(&s.tickets, outer.tickets)
	inherit(&s.timeout, outer.timeout)
	inherit(&s.ssl, outer.ssl)
	return s
}

// handshakes reports whether the server can complete one.
func (s settings) handshakes() bool { return s.certificate != "" && s.reject != "on" }

package renderer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Spot is a place in nginx's configuration and what stands there.
type Spot struct {
	Place string // "file:line"
	What  string
}

// Survey is what nginx's configuration says that takes something from what
// tlsfleet promises. What belongs to a release is not in it.
type Survey struct {
	Inspection
	Certified     []Spot   // TLS sockets whose default server has a certificate of its own
	IgnoredKeys   []Spot   // ticket keys in servers that are not the default one: nginx ignores them
	Twice         []Spot   // names of two servers on one socket: nginx ignores the second
	RawNames      []Spot   // paths with the name a client asks for as it comes: a way out of the folder
	NoTLS13       []Spot   // ssl_protocols that leave TLS 1.3 out
	ShutdownLimit bool     // worker_shutdown_timeout is set: old workers, and keys in their memory, end
	KeyFiles      []string // private keys of the operator's that servers name
}

// ErrRefused means that nginx -t refuses the configuration.
var ErrRefused = errors.New("nginx -t refuses the configuration")

// Test runs nginx -t on the configuration as it is. The error wraps ErrRefused
// if that is nginx's verdict.
func (v *Viewer) Test(ctx context.Context) error {
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	err := v.r.test(ctx, v.r.cfg.ConfigFile)
	if refused, ok := errors.AsType[*refusal](err); ok {
		return fmt.Errorf("%w: %s", ErrRefused, refused.text)
	}
	return err
}

// OnTmpfs is nil if the ticket keys are on tmpfs, and wraps ErrNotTmpfs if they
// are not.
func (v *Viewer) OnTmpfs() error { return checkTmpfs(v.r.cfg.RunDir) }

// IncludeLine is Config.IncludeLine.
func (v *Viewer) IncludeLine() string { return v.r.cfg.IncludeLine() }

// Survey reads nginx's configuration as Inspect does.
func (v *Viewer) Survey(ctx context.Context) (Survey, error) {
	in, err := v.r.Inspect(ctx)
	if err != nil || in.config == nil {
		return Survey{Inspection: in}, err
	}
	s := Survey{Inspection: in}
	c := in.config
	level := httpLevel(c)
	var servers []server
	for _, d := range level.servers {
		servers = append(servers, readServer(c, d, level.settings))
	}
	for _, sock := range group(servers) {
		s.socket(c, sock)
	}
	for _, d := range c.root() {
		s.ShutdownLimit = s.ShutdownLimit || d.Directive.Directive == "worker_shutdown_timeout"
	}
	s.walk(c, c.http())
	return s, nil
}

// socket looks at one listen address.
func (s *Survey) socket(c *config, sock *socket) {
	def := sock.servers[sock.first]
	tls := sock.ssl || def.ssl == "on"
	if tls && def.handshakes() && !strings.Contains(def.certificate, "$") && !c.isOurs(def.file) {
		s.Certified = append(s.Certified, Spot{def.place(), "listen " + sock.written})
	}
	first := map[string]server{}
	for i, srv := range sock.servers {
		if tls && i != sock.first && srv.ownKey != nil {
			add(&s.IgnoredKeys, Spot{srv.ownKey.place(), "ssl_session_ticket_key"})
		}
		for _, name := range srv.names {
			had, taken := first[name]
			switch {
			case !taken:
				first[name] = srv
			case had.at != srv.at && (!c.isOurs(had.file) || !c.isOurs(srv.file)):
				add(&s.Twice, Spot{srv.place(), fmt.Sprintf("%s on %s, which is that of %s", name, sock.written, had.place())})
			}
		}
	}
}

// add appends a spot once, however many sockets a server listens on.
func add(to *[]Spot, s Spot) {
	if !slices.ContainsFunc(*to, func(x Spot) bool { return x.Place == s.Place }) {
		*to = append(*to, s)
	}
}

// pathDirectives open what their parameters name, when a client comes.
var pathDirectives = []string{"ssl_certificate", "ssl_certificate_key", "root", "alias", "auth_basic_user_file", "proxy_ssl_certificate", "proxy_ssl_certificate_key", "try_files", "access_log"}

// walk looks at single directives on every level.
func (s *Survey) walk(c *config, ds []at) {
	for _, d := range ds {
		name := d.Directive.Directive
		switch {
		case c.isOurs(d.file):
			continue
		case name == "ssl_protocols" && !slices.Contains(d.Args, "TLSv1.3"):
			s.NoTLS13 = append(s.NoTLS13, Spot{d.place(), strings.Join(d.Args, " ")})
		case name == "ssl_certificate_key" && len(d.Args) == 1 && !strings.Contains(d.Args[0], "$") && !isNoFile(d.Args[0]):
			if path := c.absolute(d.Args[0]); !slices.Contains(s.KeyFiles, path) {
				s.KeyFiles = append(s.KeyFiles, path)
			}
		}
		if slices.Contains(pathDirectives, name) && slices.ContainsFunc(d.Args, rawName) {
			s.RawNames = append(s.RawNames, Spot{d.place(), name + " " + strings.Join(d.Args, " ")})
		}
		if len(d.Block) > 0 {
			s.walk(c, c.block(d))
		}
	}
}

// rawName reports whether a parameter has $ssl_server_name in it.
func rawName(arg string) bool {
	const variable = "$ssl_server_name"
	if strings.Contains(arg, "${ssl_server_name}") {
		return true
	}
	for rest := arg; ; {
		i := strings.Index(rest, variable)
		if i < 0 {
			return false
		}
		rest = rest[i+len(variable):]
		if rest == "" || !strings.ContainsAny(rest[:1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") {
			return true
		}
	}
}

// Partial reports whether a file of nginx's configuration could not be read.
func (in Inspection) Partial() bool { return !in.parsed }

// Folder is one that the renderer makes, with the mode that it gets.
type Folder struct {
	Path string
	Perm fs.FileMode
}

// Folders are those of StateDir and RunDir, whether they are there or not.
func (v *Viewer) Folders() []Folder {
	c := v.r.cfg
	return []Folder{{c.StateDir, 0o750}, {c.releasesDir(), 0o750}, {c.storeDir(), 0o710}, {c.liveDir(), 0o710}, {c.RunDir, 0o755}, {c.ticketsDir(), 0o700}}
}

// KeyPatterns match the files that hold private keys and ticket keys.
func (v *Viewer) KeyPatterns() []string {
	c := v.r.cfg
	return []string{filepath.Join(c.storeDir(), "*", privkeyFile), filepath.Join(c.ticketsDir(), "*")}
}

// OwnerOf is the id of the user a file belongs to; -1 if that cannot be told.
func OwnerOf(info fs.FileInfo) int {
	if uid, ok := ownerOf(info); ok {
		return uid
	}
	return -1
}

package testkit

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	bindReady = 30 * time.Second
	bindStop  = 20 * time.Second
	bindUser  = "bind" // of Debian's package
)

// BindOptions are what a DNS server knows.
type BindOptions struct {
	Zones  []string          // each with 127.0.0.1 for all names in it
	CNAMEs map[string]string // name -> target, both in one of the zones
}

// BindServer is a real BIND on loopback. It takes updates (RFC 2136) signed with
// its key. Its address and its zones stay the same over Stop and Start.
type BindServer struct {
	Addr    string // host:port
	KeyName string
	Secret  string // base64, for hmac-sha256

	dir  string
	argv []string
	log  *os.File
	proc *process
}

// Bind starts a DNS server that ends with tb.
func Bind(tb TB, o BindOptions) *BindServer {
	tb.Helper()
	s, err := newBind(FreePort(tb, loopback), o)
	if err != nil {
		tb.Fatalf("start BIND: %v", err)
	}
	tb.Cleanup(func() {
		if failed(tb) {
			tb.Logf("log of BIND at %s:\n%s", s.Addr, tail(s.log))
		}
		if err := errors.Join(s.proc.stop(syscall.SIGTERM, bindStop), s.log.Close(), os.RemoveAll(s.dir)); err != nil {
			tb.Logf("%v", err)
		}
	})
	s.Start(tb)
	return s
}

func newBind(port int, o BindOptions) (*BindServer, error) {
	binary, err := bindBinary()
	if err != nil {
		return nil, err
	}
	// Not below a folder that only root can enter: BIND runs as its own user.
	dir, err := os.MkdirTemp("", "tlsfleet-bind-")
	if err != nil {
		return nil, err
	}
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, err
	}
	s := &BindServer{Addr: address(loopback, port), KeyName: "tlsfleet-test.", Secret: base64.StdEncoding.EncodeToString(secret[:]), dir: dir}
	s.argv = []string{binary, "-g", "-n", "1", "-c", filepath.Join(dir, "named.conf")}
	if err := s.write(port, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.log, err = os.OpenFile(filepath.Join(dir, "named.log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, s.hand()
}

// bindBinary is where Debian's package has the server, else where PATH has it.
func bindBinary() (string, error) {
	const debian = "/usr/sbin/named"
	if _, err := os.Stat(debian); err == nil {
		return debian, nil
	}
	path, err := exec.LookPath("named")
	if err != nil {
		return "", fmt.Errorf("find BIND: %w\nhint: run 'make deps'", err)
	}
	return path, nil
}

// write writes configuration and zones.
func (s *BindServer) write(port int, o BindOptions) error {
	var conf strings.Builder
	fmt.Fprintf(&conf, `options {
	directory %[1]q; pid-file %[2]q; session-keyfile %[3]q; lock-file none;
	listen-on port %[4]d { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; dnssec-validation no; notify no; empty-zones-enable no;
};
controls { };
key %[5]q { algorithm hmac-sha256; secret %[6]q; };
`, s.dir, filepath.Join(s.dir, "named.pid"), filepath.Join(s.dir, "session.key"), port, s.KeyName, s.Secret)
	files := map[string]string{}
	for _, zone := range o.Zones {
		fmt.Fprintf(&conf, "zone %[1]q { type primary; file %[1]q; allow-update { key %[2]q; }; };\n", zone, s.KeyName)
		var text strings.Builder
		fmt.Fprintf(&text, "$TTL 1\n@ SOA ns.%[1]s. root.%[1]s. 1 60 60 3600 1\n@ NS ns.%[1]s.\n@ A 127.0.0.1\nns A 127.0.0.1\n* A 127.0.0.1\n", zone)
		for name, target := range o.CNAMEs {
			if strings.HasSuffix(name, "."+zone) {
				fmt.Fprintf(&text, "%s. CNAME %s.\n", name, target)
			}
		}
		files[zone] = text.String()
	}
	files["named.conf"] = conf.String()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// hand gives the folder to BIND's own user, who runs it if root runs the tests.
func (s *BindServer) hand() error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup(bindUser)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	// Not by named's own -u: the change of user ends what ends it with this process.
	s.argv = append([]string{"/usr/bin/setpriv", "--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups", "--pdeathsig=KILL"}, s.argv...)
	return filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, uid, gid))
	})
}

// Start starts the server again after Stop, and waits until it answers.
func (s *BindServer) Start(tb TB) {
	tb.Helper()
	var err error
	if s.proc, err = startProcess("BIND", s.argv, s.log, syscall.SIGKILL); err != nil {
		tb.Fatalf("%v", err)
	}
	Eventually(tb, bindReady, "BIND to answer", func() error {
		_, err := s.ask("version.bind.", dns.TypeTXT)
		return err
	})
}

// Stop ends the server; what it knows stays.
func (s *BindServer) Stop(tb TB) {
	tb.Helper()
	if err := s.proc.stop(syscall.SIGTERM, bindStop); err != nil {
		tb.Fatalf("%v", err)
	}
}

// Freeze stops the server in place: it takes questions and updates, and answers
// them after Thaw.
func (s *BindServer) Freeze(tb TB) {
	tb.Helper()
	if err := s.proc.signal(syscall.SIGSTOP); err != nil {
		tb.Fatalf("%v", err)
	}
	Eventually(tb, bindStop, "BIND to be frozen", s.proc.stopped)
}

// Thaw ends Freeze.
func (s *BindServer) Thaw(tb TB) {
	tb.Helper()
	if err := s.proc.signal(syscall.SIGCONT); err != nil {
		tb.Fatalf("%v", err)
	}
}

// TXT are the texts of a name.
func (s *BindServer) TXT(tb TB, name string) []string {
	tb.Helper()
	var answer *dns.Msg
	Eventually(tb, bindReady, "BIND to answer for "+name, func() (err error) {
		answer, err = s.ask(name+".", dns.TypeTXT)
		return err
	})
	var all []string
	for _, rr := range answer.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			all = append(all, strings.Join(txt.Txt, ""))
		}
	}
	slices.Sort(all)
	return all
}

// Added is how often a record of a name was set.
func (s *BindServer) Added(tb TB, name string) int {
	tb.Helper()
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		tb.Fatalf("read log of BIND: %v", err)
	}
	return strings.Count(string(text), "adding an RR at '"+name+"' TXT")
}

func (s *BindServer) ask(name string, kind uint16) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	answer, _, err := new(dns.Client).ExchangeContext(ctx, new(dns.Msg).SetQuestion(name, kind), s.Addr)
	return answer, err
}

// NSUpdate is a script for `sh -c` that sets or removes a record by nsupdate:
// its arguments are present or cleanup, the name and the value.
func (s *BindServer) NSUpdate() string {
	host, port, _ := strings.Cut(s.Addr, ":")
	return fmt.Sprintf(`set -e
case "$1" in present) what="add $2 1 TXT \"$3\"";; cleanup) what="delete $2 TXT \"$3\"";; *) exit 2;; esac
printf 'server %s %s\nupdate %%s\nsend\n' "$what" | nsupdate -t 5 -y hmac-sha256:%s:%s
`, host, port, s.KeyName, s.Secret)
}

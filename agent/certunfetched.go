package agent

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// missing is one way in which bundles are not to be had.
type missing struct {
	code     string
	severity fleet.Severity
	effect   string // on the names
	hint     string
}

// The ways, the worst first.
var (
	refused = missing{"certificate-refused", fleet.Alarm, "keeps what it had", "import the certificate again"}
	damaged = missing{"certificate-damaged", fleet.Alarm, "has files that others changed", "they are fetched again as soon as Consul gives them"}
	denied  = missing{"certificate-denied", fleet.Alarm, "keeps what it had", "let this node's ACL token read the fleet's keys; it is tried again"}
	unread  = missing{"certificate-unread", fleet.Warning, "keeps what it had", "tried again; see that Consul answers"}
)

// unfetched are the problems of names whose bundle could not be had, one for
// each way. The error is that of the first one that could not be written.
func (f *certFollower) unfetched(failed map[fleet.Hash]error) (out []fleet.Problem, unwritten error) {
	names := map[missing][]string{}
	first := map[missing]error{}
	for _, name := range slices.Sorted(maps.Keys(f.todo)) {
		hash := f.todo[name]
		err := failed[hash]
		if err == nil {
			continue
		}
		way := unread
		switch {
		case refuses(err):
			way = refused
		case ofDisk(err):
			unwritten = cmp.Or(unwritten, err)
			continue
		case f.mending.damaged[hash]:
			way = damaged
		case errors.Is(err, store.ErrDenied):
			way = denied
		}
		if len(names[way]) == 0 {
			first[way] = err
		}
		names[way] = append(names[way], name)
	}
	for _, way := range []missing{refused, damaged, denied, unread} {
		if some := names[way]; len(some) > 0 {
			out = append(out, fleet.Problem{Code: way.code, Severity: way.severity, Hint: way.hint,
				Message: fmt.Sprintf("%s %s, and %d other names with it: %v", some[0], way.effect, len(some)-1, first[way])})
		}
	}
	return out, unwritten
}

// refuses reports whether trying again is no use as long as Consul has the same.
func refuses(err error) bool {
	return errors.Is(err, store.ErrMissing) || errors.Is(err, store.ErrRecord) || errors.Is(err, store.ErrSchema) || errors.Is(err, bundle.ErrBundle)
}

// ofDisk reports whether an error is about this host's files.
func ofDisk(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

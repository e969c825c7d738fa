package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// unfetched are the problems of names whose bundle could not be had: one about
// bundles that are no use, one about those that Consul did not give. The error
// is that of the first one that could not be written.
func (f *certFollower) unfetched(failed map[fleet.Hash]error) (out []fleet.Problem, unwritten error) {
	kinds := map[string]*fleet.Problem{
		"certificate-refused": {Severity: fleet.Alarm, Hint: "import the certificate again"},
		"certificate-unread":  {Severity: fleet.Warning, Hint: "tried again; see that Consul answers and this node's token may read the bundles"},
	}
	names := map[string][]string{}
	first := map[string]error{}
	for _, name := range slices.Sorted(maps.Keys(f.todo)) {
		err := failed[f.todo[name].Bundle]
		if err == nil || f.todo[name].Removed {
			continue
		}
		code := "certificate-unread"
		switch {
		case refuses(err):
			code = "certificate-refused"
		case ofDisk(err):
			if unwritten == nil {
				unwritten = err
			}
			continue
		}
		if len(names[code]) == 0 {
			first[code] = err
		}
		names[code] = append(names[code], name)
	}
	for _, code := range slices.Sorted(maps.Keys(names)) {
		p := *kinds[code]
		p.Code = code
		p.Message = fmt.Sprintf("%s keeps what it had, and %d other names with it: %v", names[code][0], len(names[code])-1, first[code])
		out = append(out, p)
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

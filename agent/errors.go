package agent

import (
	"errors"

	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// Misconfigured reports whether the error is a mistake of configuration,
// which trying again does not mend, with advice if there is more to say than
// the error does.
func Misconfigured(err error) (advice string, ok bool) {
	switch {
	case errors.Is(err, renderer.ErrNotTmpfs):
		return "put run_dir on a tmpfs such as /run, or set allow_persistent_keys = true and accept that keys on a disk can outlive their deletion", true
	case errors.Is(err, errNotAdmitted):
		return "the agent gets it from Consul: `tlsfleet node init` prints what to run on the operator's host", true
	case errors.Is(err, errKept):
		return "mode 0600; if it is damaged remove it, and the agent gets it from Consul again", true
	case errors.Is(err, seal.ErrIdentity):
		return "mode 0600, and only for the agent's user; `tlsfleet node init` makes one if there is none", true
	case errors.Is(err, seal.ErrKeyring):
		return "make a keyring with `tlsfleet keyring init`, or copy the fleet's from another node; mode 0600", true
	}
	return "", false
}

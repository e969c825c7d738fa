package probe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// ErrNotProved is returned by Proved when a listener showed another key than
// the wanted one, or none.
var ErrNotProved = errors.New("ticket key is not proved")

// Proved returns nil if every listener that is not skipped showed a ticket
// sealed with want in every version of TLS it speaks. Else the error wraps
// ErrNotProved and says of each listener and version what was seen. No
// listeners, or only skipped ones, are nothing to prove: nil.
func Proved(proofs []fleet.ListenerProof, want fleet.KeyName) error {
	if want.IsZero() {
		return fmt.Errorf("%w: the wanted key has no name", ErrNotProved)
	}
	var faults []string
	for _, p := range proofs {
		if p.Skipped != "" {
			continue
		}
		where := fmt.Sprintf("listen %s (%s)", p.Listen, p.Address)
		seen := 0
		for _, s := range p.TLS {
			switch {
			case s.Err != "":
				faults = append(faults, fmt.Sprintf("%s TLS %s: %s", where, s.Version, s.Err))
			case s.Absent:
				continue
			case s.Key != want:
				faults = append(faults, fmt.Sprintf("%s TLS %s: sealed with key %s", where, s.Version, s.Key))
			}
			seen++
		}
		if seen == 0 {
			faults = append(faults, where+": no version of TLS was seen")
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("%w: want %s: %s", ErrNotProved, want, strings.Join(faults, "; "))
	}
	return nil
}

package fleet_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestSecretNeverPrintsFromUnexportedFields(t *testing.T) {
	s := fleet.NewSecret(bytes.Repeat([]byte("Z"), 80))
	ring := fleet.Ring{Epoch: 1, Current: fleet.TicketKey{Raw: s}}
	for name, v := range map[string]any{
		"secret":       struct{ s fleet.Secret }{s},
		"pointer":      struct{ s *fleet.Secret }{&s},
		"ring":         struct{ r fleet.Ring }{ring},
		"ring pointer": &struct{ r *fleet.Ring }{&ring},
		"any":          struct{ a any }{s},
	} {
		for _, verb := range verbs {
			checkNoLeak(t, name, verb, fmt.Sprintf(verb, v))
		}
	}
}

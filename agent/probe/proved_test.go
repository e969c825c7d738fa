package probe_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/probe"
)

func TestProved(t *testing.T) {
	want, other := fleet.KeyName{1}, fleet.KeyName{2}
	both := func(k12, k13 fleet.KeyName) []fleet.TicketSeen {
		return []fleet.TicketSeen{{Version: "1.2", Key: k12}, {Version: "1.3", Key: k13}}
	}
	tests := map[string]struct {
		proofs []fleet.ListenerProof
		want   fleet.KeyName
		errs   []string // in the error; none: no error
	}{
		"all show it":   {proofs: []fleet.ListenerProof{{Listen: "443", TLS: both(want, want)}, {Listen: "444", TLS: both(want, want)}}},
		"no listener":   {},
		"only skipped":  {proofs: []fleet.ListenerProof{{Listen: "443", Skipped: "session tickets are off"}}},
		"one is absent": {proofs: []fleet.ListenerProof{{Listen: "443", TLS: []fleet.TicketSeen{{Version: "1.2", Absent: true}, {Version: "1.3", Key: want}}}}},
		"other key in one version": {
			proofs: []fleet.ListenerProof{{Listen: "443", Address: "127.0.0.1:443", TLS: both(want, other)}},
			errs:   []string{"want " + want.String() + ": listen 443 (127.0.0.1:443) TLS 1.3: sealed with key " + other.String()},
		},
		"several": {
			proofs: []fleet.ListenerProof{
				{Listen: "443", Address: "a", TLS: both(other, want)},
				{Listen: "444", Address: "b", TLS: []fleet.TicketSeen{{Version: "1.2", Err: "boom"}, {Version: "1.3", Key: want}}},
			},
			errs: []string{"listen 443 (a) TLS 1.2: sealed with key " + other.String(), "listen 444 (b) TLS 1.2: boom"},
		},
		"error beside absent": {
			proofs: []fleet.ListenerProof{{Listen: "443", TLS: []fleet.TicketSeen{{Version: "1.2", Absent: true, Err: "refused"}}}},
			errs:   []string{"TLS 1.2: refused"},
		},
		"both absent": {
			proofs: []fleet.ListenerProof{{Listen: "443", TLS: []fleet.TicketSeen{{Version: "1.2", Absent: true}, {Version: "1.3", Absent: true}}}},
			errs:   []string{"listen 443 (): no version of TLS was seen"},
		},
		"no handshake": {
			proofs: []fleet.ListenerProof{{Listen: "443"}},
			errs:   []string{"listen 443 (): no version of TLS was seen"},
		},
		"no name seen": {
			proofs: []fleet.ListenerProof{{Listen: "443", TLS: both(fleet.KeyName{}, want)}},
			errs:   []string{"TLS 1.2: sealed with key 00000000000000000000000000000000"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			err := probe.Proved(tc.proofs, want)
			if len(tc.errs) == 0 && err != nil {
				t.Fatalf("Proved = %v, want nil", err)
			}
			if len(tc.errs) > 0 && !errors.Is(err, probe.ErrNotProved) {
				t.Fatalf("Proved = %v, want ErrNotProved", err)
			}
			for _, e := range tc.errs {
				if !strings.Contains(err.Error(), e) {
					t.Errorf("Proved = %v, want %q in it", err, e)
				}
			}
		})
	}
	if err := probe.Proved(nil, fleet.KeyName{}); !errors.Is(err, probe.ErrNotProved) {
		t.Errorf("Proved(no name) = %v, want ErrNotProved", err)
	}
}

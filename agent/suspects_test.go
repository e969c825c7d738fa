package agent

import (
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func woken(w wake) bool {
	select {
	case <-w:
		return true
	default:
		return false
	}
}

// A folder that cannot be read must not keep the follower busy: what is put
// back waits for its time.
func TestSuspectsPutBackWakeNobody(t *testing.T) {
	s := suspects{wake: newWake()}
	s.add([]string{"a.test"}, []fleet.Hash{{1}}, true)
	if !woken(s.wake) {
		t.Error("nobody is woken for new suspects")
	}
	odd, all := s.take()
	s.putBack([]string{"a.test"}, []fleet.Hash{{1}}, all)
	if woken(s.wake) {
		t.Error("somebody is woken for suspects that were put back")
	}
	if again, all := s.take(); !all || !again.live["a.test"] || len(again.bundles) != len(odd.bundles) {
		t.Errorf("take() = %+v, %v, want what was put back", again, all)
	}
	s.add(nil, nil, false)
	if woken(s.wake) {
		t.Error("somebody is woken for nothing")
	}
}

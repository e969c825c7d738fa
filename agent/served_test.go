package agent

import (
	"slices"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestServedKeepsNamesThatLeaveOutOfReleases(t *testing.T) {
	var s served
	s.reset(map[string]fleet.Hash{"a.test": {1}, "b.test": {2}, "*.w.test": {3}})
	if !s.leave("b.test") || s.leave("b.test") {
		t.Error("leave(b.test) = false, then true, want true the first time only")
	}
	if got := s.names(); !slices.Equal(got, []string{"*.w.test", "a.test"}) {
		t.Errorf("names() = %v, want b.test left out", got)
	}
	if _, ok := s.bundle("b.test"); !ok {
		t.Error("bundle(b.test) is gone before it was dropped")
	}
	s.change(map[string]fleet.Hash{"c.test": {4}}, []string{"b.test", "*.w.test"})
	if got := s.names(); !slices.Equal(got, []string{"a.test", "c.test"}) || len(s.wildcards()) != 0 {
		t.Errorf("names() = %v, wildcards() = %v, want a.test and c.test and no wildcard", got, s.wildcards())
	}
	if s.leave("c.test"); len(s.names()) != 1 {
		t.Errorf("names() = %v, want a.test", s.names())
	}
	s.change(map[string]fleet.Hash{"c.test": {4}}, nil)
	if got := s.names(); s.leaving("c.test") || !slices.Equal(got, []string{"a.test", "c.test"}) {
		t.Errorf("names() = %v with c.test put again, want it back", got)
	}
}

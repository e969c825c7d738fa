package renderer

import (
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestPlaceChoosesAsNginxDoes(t *testing.T) {
	s := &socket{first: 1, servers: []server{
		{names: []string{"a.test", "*.wild.test"}},
		{names: []string{"_"}},
		{names: []string{"*.deep.wild.test", "a.test", "www.shop.*"}},
		{names: []string{".dot.test", `~^re\d+\.test$`}},
		{names: []string{"~(?!x)y"}},
		{names: []string{"~^"}},
	}}
	p := newPlace(s, fleet.Listener{})
	for sni, want := range map[string]int{
		"a.test": 0, "x.wild.test": 0, "x.y.wild.test": 0, "wild.test": -1, "x.deep.wild.test": 2, "www.shop.example": 2, "www.shop.co.example": 2,
		"dot.test": 3, "x.dot.test": 3, "re12.test": 3, "other.test": -1,
	} {
		if got := p.choose(sni); got != want {
			t.Errorf("choose(%s) = %d, want %d", sni, got, want)
		}
	}
	p.patterns = nil
	if got := p.choose("other.test"); got != 1 {
		t.Errorf("choose(other.test) without patterns = %d, want the default server 1", got)
	}
}

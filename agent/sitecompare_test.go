package agent

import (
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// TestNoSitesNeedNoRelease: a node without sites has nothing to ask for, also
// while its first release is being made.
func TestNoSitesNeedNoRelease(t *testing.T) {
	t.Parallel()
	r, _ := idleRenderer(t)
	one := site.New("one")
	one.ServerNames = []string{"one.test"}
	for name, tt := range map[string]struct {
		sites   []site.Site
		release uint64
		want    int
	}{
		"none, before the first release": {nil, 0, 0},
		"none, after it":                 {nil, 1, 0},
		"one, before the first release":  {[]site.Site{one}, 0, 1},
		"one, after it":                  {[]site.Site{one}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			v := &view{nginx: "1.22.1", changed: func() {}}
			v.active.Release = tt.release
			f := &siteFollower{
				log: hclog.NewNullLogger(), renderer: r, view: v, problems: newProblems(func() {}), ask: func(string) { asked++ },
				serving: &tlsServing{view: v, renderer: r, served: &served{}, challenges: func() renderer.Challenges { return renderer.Challenges{} }},
			}
			f.now = sitesWith(config.Config{}, 1, tt.sites)
			for range 2 {
				f.compare(t.Context())
			}
			if asked != tt.want {
				t.Errorf("compare() twice asked for %d releases, want %d", asked, tt.want)
			}
		})
	}
}

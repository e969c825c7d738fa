package agent

import (
	"fmt"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// TestTrialAwaitsCertificatesOnly: a site that was left out is a failure, unless
// nothing but its certificate is missing.
func TestTrialAwaitsCertificatesOnly(t *testing.T) {
	f := &siteFollower{view: &view{}, sites: map[string]store.SiteRecord{}, proof: &siteProver{served: &served{}}}
	d := siteDelta{epoch: 3, ids: []string{"clash", "late", "right", "snippet"}}
	for _, id := range d.ids {
		f.sites[id] = store.SiteRecord{Site: site.Site{ID: id, ServerNames: []string{id + ".test"}}}
	}
	late := fmt.Errorf("render site: late.test: %w", renderer.ErrNoCertificate).Error()
	f.clash = map[string]string{"clash": "clash.test is another's"}
	f.view.active.Sites.Left = map[string]string{"clash": late, "late": late, "snippet": "use snippet gzip.conf: no such file or directory"}
	f.view.active.Sites.Awaiting = []string{"clash", "late"}
	got := f.trial(d)
	if got.bad != "clash snippet" || got.failed == "" || len(got.sites) != 1 || got.sites[0].id != "right" {
		t.Errorf("trial() = %+v, want clash and snippet bad, right to be seen, late awaited", got)
	}
	delete(f.clash, "clash")
	delete(f.view.active.Sites.Left, "snippet")
	if got := f.trial(d); got.failed != "" || got.bad != "" || len(got.sites) != 2 {
		t.Errorf("trial() = %+v, want right and snippet to be seen, and the others awaited", got)
	}
}

package agent_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/importer"
)

// TestImportsAtOnceKeepTheLaterCertificate has several operators import
// certificates for the same names at the same moment, again and again.
func TestImportsAtOnceKeepTheLaterCertificate(t *testing.T) {
	con, ca := consoleOf(t), newAuthority(t)
	const rounds = 5
	for round := range rounds {
		name := fmt.Sprintf("r%d.test", round)
		found := []importer.Found{
			ca.found(t, "short", 30, name, "short."+name), ca.found(t, "long", 90, name, "long."+name), ca.found(t, "mid", 60, name, "mid."+name),
		}
		results := make([]agent.ImportResult, len(found))
		errs := make([]error, len(found))
		var importers sync.WaitGroup
		for i, f := range found {
			importers.Go(func() { results[i], errs[i] = con.Import(t.Context(), []importer.Found{f}, agent.ImportOptions{}, nil) })
		}
		importers.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("Import() = %v", err)
		}
		d, err := con.Certificate(t.Context(), name)
		if err != nil || len(d.Names) != 2 || d.Names[1] != name && d.Names[0] != name || d.Names[0] != "long."+name && d.Names[1] != "long."+name {
			t.Errorf("Certificate(%s) = one for %v, %v, want the one that ends last, for long.%s", name, d.Names, err, name)
		}
		wantToldOnce(t, results)
	}
}

// wantToldOnce fails unless each result says of both of its names what came of
// them.
func wantToldOnce(t *testing.T, results []agent.ImportResult) {
	t.Helper()
	for i, r := range results {
		kept := 0
		for _, x := range r.Refused {
			if !errors.Is(x.Err, agent.ErrOlder) {
				t.Errorf("import %d refused %s: %v, want no other cause than %v", i, x.Path, x.Err, agent.ErrOlder)
			}
			kept += len(x.Names)
		}
		if got := r.Added + r.Replaced + r.Unchanged + kept; got != 2 || r.Replaced != len(r.Replacements) {
			t.Errorf("import %d = %+v, want 2 names in all and each replacement listed", i, r)
		}
	}
}

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestFleetOutlivesConsul takes all of Consul's state away, again and again, and
// puts the fleet back from each kind of copy. An archive is away while
// certificates are obtained, which holds nothing up, and catches up when it comes.
func TestFleetOutlivesConsul(t *testing.T) {
	t.Parallel()
	archives, mount := []string{"disk", "bucket", "database"}, filepath.Join(t.TempDir(), "mount")
	addrs := map[int]string{}
	a := newACMEFleet(t, FleetOptions{Node: withHTTP(t, addrs), Settings: with(newCopyPlaces(t).settings, Settings{
		`archive "disk".directory`: filepath.Join(t.TempDir(), "disk"), `archive "away".directory`: filepath.Join(mount, "archive"),
	})})
	own := newCA(t)
	for i, name := range []string{"shop.test", "blog.test"} {
		a.leadTo(t, a.Nodes[i+1], name)
	}
	a.Add(t, "shop.test", "blog.test")
	shop, blog := a.AwaitIssued(t, "shop.test", "", a.Nodes...), a.AwaitIssued(t, "blog.test", "", a.Nodes...)
	imported := own.Issue(t, 90, "imported.test")
	a.Import(t, imported)
	a.AwaitServed(t, own, "imported.test", imported, a.Nodes...)
	for _, name := range archives {
		a.awaitCopied(t, name, 3, 2)
	}
	a.awaitTold(t, addrs[0], "away")
	testkit.Eventually(t, settle, "a line for each archive", func() error {
		r := a.CLI(t, "status")
		if r.Code != 0 || !strings.Contains(r.Stdout, "archive disk: all is copied, seen ") || !strings.Contains(r.Stdout, "archive away: behind for ") {
			return errors.New(r.String())
		}
		return nil
	})
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	a.awaitCopied(t, "away", 3, 2)
	a.awaitTold(t, addrs[0])
	file := filepath.Join(t.TempDir(), "fleet.backup")
	a.CLI(t, "backup", file).Want(t, 0)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup is %v, %v, want mode 0600", info, err)
	}
	orders, releases := a.pebble.Counts(t).Orders, a.releases(t)
	sources := [][]string{{file}}
	for _, name := range archives {
		sources = append(sources, []string{"--from", name})
	}
	comeBack := func(how string, source []string) {
		t.Helper()
		for _, n := range a.Nodes {
			if w, err := n.Greet(t, a.ca, Hello{SNI: "shop.test"}); err != nil || w.Serial != shop.Serial {
				t.Errorf("%s: %s serves shop.test with %s, %v, want %s all the time", how, n.Name, w.Serial, err, shop.Serial)
			}
		}
		var done store.Restored
		r := a.CLI(t, append([]string{"restore-fleet", "--yes", "--format", "json"}, source...)...).Want(t, 0)
		if err := json.Unmarshal([]byte(r.Stdout), &done); err != nil || done.Names != 3 || done.Items != 2 {
			t.Fatalf("%s: %s: %v, want 3 names and 2 items", how, r, err)
		}
		for _, n := range a.Nodes {
			n.AwaitFollowed(t, done.Epoch, 3)
		}
		a.AwaitServed(t, own, "imported.test", imported, a.Nodes...)
		for name, want := range map[string]string{"shop.test": shop.Serial, "blog.test": blog.Serial} {
			if got := a.AwaitIssued(t, name, "", a.Nodes...); got.Serial != want {
				t.Errorf("%s: %s is served with %s, want %s", how, name, got.Serial, want)
			}
		}
		var answer struct{ Domains []agent.DomainStatus }
		err := a.askJSON(t, &answer, "domain", "list")
		if list := answer.Domains; err != nil || len(list) != 2 || list[0].Names[0] != "blog.test" || list[0].State != "issued" {
			t.Errorf("%s: domain list = %+v, %v, want both issued", how, list, err)
		}
		if got := a.pebble.Counts(t).Orders; got != orders {
			t.Errorf("%s: the CA has made %d orders, want %d as before", how, got, orders)
		}
		again := a.CLI(t, append([]string{"restore-fleet", "--yes"}, source...)...).Want(t, 1)
		// An archive may have the restored fleet by now, which is as new.
		if !strings.Contains(again.Stderr, "newer") && (len(source) == 1 || !strings.Contains(again.Stderr, "is not empty")) {
			t.Errorf("%s: restore into the newer fleet: %s, want it refused", how, again)
		}
	}
	for i, source := range sources {
		a.ConsulCLI(t, "kv", "delete", "-recurse", a.path("")).Want(t, 0)
		if i == 0 {
			a.awaitNoAccount(t)
		}
		comeBack("KV deleted, from "+strings.Join(source, " "), source)
	}
	a.Consul.Stop(t)
	a.Consul.Start(t) // in memory: it comes back with nothing
	comeBack("all of Consul's state gone", sources[1])
	for _, name := range archives {
		a.awaitCopied(t, name, 3, 2)
	}
	if got := a.releases(t); fmt.Sprint(got) != fmt.Sprint(releases) {
		t.Logf("releases and reloads = %v, were %v", got, releases)
	}
	a.CLI(t, "domain", "renew", "blog.test").Want(t, 0)
	a.AwaitIssued(t, "blog.test", blog.Serial, a.Nodes...)
	if got := a.pebble.Counts(t).Orders; got != orders+1 {
		t.Errorf("the CA has made %d orders, want %d: one for the renewal", got, orders+1)
	}
}

// awaitNoAccount waits until the leader of the emptied fleet has left it without
// an ACME account.
func (a *acmeFleet) awaitNoAccount(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, issueTime, "a leader that misses the account", func() error {
		for _, n := range a.Nodes {
			r, err := n.Report(t)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(r.Problems, func(p fleet.Problem) bool { return p.Code == "account-missing" }) {
				return nil
			}
		}
		return errors.New("no node says so")
	})
	if keys := a.keys(t, "acme/account"); len(keys) > 0 {
		t.Errorf("in Consul is %q, want no new account", keys)
	}
}

// awaitTold waits until the status and the dashboard of a node at addr show which
// archives are behind, and that the others have everything.
func (a *acmeFleet) awaitTold(t *testing.T, addr string, behind ...string) {
	t.Helper()
	check := func(list []agent.ArchiveStatus) error {
		if len(list) != 4 {
			return fmt.Errorf("archives are %+v, want four", list)
		}
		for _, c := range list {
			late := slices.Contains(behind, c.Name)
			if late != (c.Behind > 0) || late != (c.Pending > 0) || late != (c.Err != "") || late != c.Copied.IsZero() {
				return fmt.Errorf("archive %+v is shown, behind are %q", c, behind)
			}
		}
		return nil
	}
	testkit.Eventually(t, issueTime, "word of the archives", func() error {
		s, err := a.TryStatus(t)
		if err == nil {
			err = check(s.Archives)
		}
		if err != nil {
			return fmt.Errorf("status: %w", err)
		}
		_, body, err := get(t, addr, "/v1/fleet")
		var page struct{ Archives []agent.ArchiveStatus }
		if err == nil {
			err = json.Unmarshal([]byte(body), &page)
		}
		if err == nil {
			err = check(page.Archives)
		}
		if err != nil {
			return fmt.Errorf("dashboard: %w", err)
		}
		return nil
	})
}

// awaitCopied waits until an archive has a whole copy with so many names and
// certificates obtained by ACME.
func (a *acmeFleet) awaitCopied(t *testing.T, archive string, names, items int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backup")
	testkit.Eventually(t, issueTime, "the copy in "+archive, func() error {
		r := a.CLI(t, "backup", "--from", archive, "--format", "json", file)
		var info agent.CopyInfo
		if err := json.Unmarshal([]byte(r.Stdout), &info); err != nil || info.Names != names || info.Items != items {
			return fmt.Errorf("%s: %w", r, err)
		}
		return nil
	})
}

package renderer

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func TestSetLiveRefusesNamesThatEscape(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	hash := g.put(t, "a.test")["a.test"]
	bad := []string{
		"", ".", "..", "../x", "../../etc/cron.d/x", "a/b.test", "/a.test", "a..b", "%2e%2e", "-a.com", "A.test", "a.test.", "*.*.com", "*.test",
		"a\x00.test", "a.test\n", "$host", "{", "1.2.3.4", "+.a.test", "_none", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 126) + "test",
	}
	flips := map[string]fleet.Hash{"good.test": hash, "*.good.test": hash, "nobundle.test": {9}}
	for _, name := range bad {
		flips[name] = hash
	}
	err := g.SetLive(flips)
	for _, name := range bad {
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("certificate of %.300q live", name)) {
			t.Errorf("SetLive() = %v, want an error that names %q", err, name)
		}
	}
	if !errors.Is(err, fleet.ErrDomain) || !errors.Is(err, ErrNoBundle) {
		t.Errorf("SetLive() = %v, want %v and %v", err, fleet.ErrDomain, ErrNoBundle)
	}
	want := []string{"+.good.test", "a.test", "good.test"}
	if got := g.entries(t, g.cfg.liveDir()); !slices.Equal(got, want) {
		t.Errorf("live has %v, want %v", got, want)
	}
	if err := g.DropLive(append(bad, "good.test", "absent.test")...); !errors.Is(err, fleet.ErrDomain) {
		t.Errorf("DropLive() = %v, want %v", err, fleet.ErrDomain)
	}
	live, err := g.Live()
	if want := map[string]fleet.Hash{"a.test": hash, "*.good.test": hash}; err != nil || !maps.Equal(live, want) {
		t.Errorf("Live() = %v, %v, want %v", live, err, want)
	}
	if got := g.entries(t, g.cfg.StateDir); !slices.Equal(got, []string{"inventory", "live", "lock", "nginx", "store"}) {
		t.Errorf("state folder has %v, want nothing new", got)
	}
}

// FuzzLiveFolder has any name from KV: what becomes a path is one entry of its
// folder, and tells its name again.
func FuzzLiveFolder(f *testing.F) {
	for _, name := range []string{"a.test", "*.a.test", "+.a.test", "..", "a..b", "../x", "%2e%2e", "a/b.test", "a\x00.test", "$host", "*.*.com", "xn--bcher-kva.test", ".test"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		folder, err := LiveFolder(name)
		if err != nil {
			if folder != "" || !errors.Is(err, fleet.ErrDomain) {
				t.Fatalf("LiveFolder(%q) = %q, %v, want no folder and %v", name, folder, err, fleet.ErrDomain)
			}
			return
		}
		if filepath.Base(folder) != folder || !filepath.IsLocal(folder) || strings.ContainsAny(folder, "*\x00$;{} \n") || len(folder) > 255 {
			t.Fatalf("LiveFolder(%q) = %q, want one plain entry of a folder", name, folder)
		}
		if again, ok := liveName(folder); !ok || again != name {
			t.Fatalf("liveName(%q) = %q, %t, want %q", folder, again, ok, name)
		}
	})
}

func (g *rig) entries(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestLongestNameIsLive(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	label := strings.Repeat("a", 63)
	exact := strings.Join([]string{label, label, label, label[:61]}, ".")
	wildcard := "*." + exact[2:]
	if len(exact) != fleet.MaxDomain || len(wildcard) != fleet.MaxDomain {
		t.Fatal("the names are not the longest")
	}
	wildcard = strings.Replace(wildcard, "*.a", "*.b", 1)
	live := map[string]fleet.Hash{}
	hash := g.put(t, "a.test")["a.test"]
	for _, name := range []string{"a.test", exact, wildcard} {
		live[name] = hash
	}
	for range 2 {
		if err := g.SetLive(live); err != nil {
			t.Fatalf("SetLive() = %v", err)
		}
	}
	if got, err := g.Live(); err != nil || !maps.Equal(got, live) {
		t.Errorf("Live() = %v, %v, want all three names", got, err)
	}
}

func TestForeignEntriesOfLive(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	live := g.put(t, "a.test", "b.test", "dangling.test")
	if err := os.RemoveAll(g.cfg.bundleDir(live["dangling.test"])); err != nil {
		t.Fatal(err)
	}
	plant := map[string]string{
		"link.test": "/etc", "_none": liveTarget(live["a.test"]), "x.test": "../store/" + strings.Repeat("A", 64),
		"abs.test": g.cfg.bundleDir(live["a.test"]), "..hidden": liveTarget(live["a.test"]), "up.test": "../../x/store/" + live["a.test"].String(),
	}
	for name, target := range plant {
		if err := os.Symlink(target, filepath.Join(g.cfg.liveDir(), name)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(g.cfg.liveDir(), "folder.test", fullchainFile), "x")
	write(t, filepath.Join(g.cfg.liveDir(), "file.test"), "x")
	got, err := g.Live()
	want := map[string]fleet.Hash{"a.test": live["a.test"], "b.test": live["b.test"]}
	if !maps.Equal(got, want) || !errors.Is(err, ErrForeign) || !errors.Is(err, ErrNoBundle) {
		t.Errorf("Live() = %v, %v, want %v with %v and %v", got, err, want, ErrForeign, ErrNoBundle)
	}
	for _, name := range append(slices.Collect(maps.Keys(plant)), "folder.test", "file.test", "dangling.test") {
		if err == nil || !strings.Contains(err.Error(), filepath.Join(g.cfg.liveDir(), name)) {
			t.Errorf("Live() = %v, want %s named", err, name)
		}
	}
	mend := map[string]fleet.Hash{}
	for _, name := range []string{"link.test", "folder.test", "file.test", "abs.test", "x.test", "up.test"} {
		mend[name] = live["a.test"]
	}
	if err := g.SetLive(mend); err != nil {
		t.Errorf("SetLive() = %v over foreign entries", err)
	}
	maps.Copy(want, mend)
	if got, err := g.Live(); !maps.Equal(got, want) || !errors.Is(err, ErrForeign) {
		t.Errorf("Live() = %v, %v, want %v", got, err, want)
	}
	if err := g.DropLive("dangling.test", "link.test"); err != nil {
		t.Errorf("DropLive() = %v", err)
	}
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Error(err)
	}
}

func TestLiveFolderRemovedByHandComesBack(t *testing.T) {
	t.Parallel()
	g := newTLSRig(t, testkit.NginxOptions{})
	g.put(t, "a.test")
	g.serve(t, g.servers(NamesOpen))
	for _, dir := range []string{g.cfg.liveDir(), g.cfg.storeDir()} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		g.refuses(t, "a.test")
		if got, err := g.Live(); len(got) != 0 {
			t.Errorf("Live() = %v, %v, want nothing", got, err)
		}
		live := g.put(t, "a.test")
		g.shows(t, "a.test", live["a.test"])
	}
}

func TestDropLiveKeepsWhatNginxLoads(t *testing.T) {
	t.Parallel()
	g := newTLSRig(t, testkit.NginxOptions{})
	g.put(t, "a.test", "b.test", "hand.test")
	servers := g.servers("", "a.test", "b.test")
	servers.Mode = TLSStatic
	g.serve(t, servers)
	conf := read(t, g.nginx.ConfigFile)
	hand := filepath.Join(g.cfg.liveDir(), "hand.test")
	write(t, g.nginx.ConfigFile, strings.Replace(conf, "access_log off;",
		"access_log off; server { listen "+g.addr+" ssl; server_name hand.test; ssl_certificate "+hand+"/fullchain.pem; ssl_certificate_key "+hand+"/privkey.pem; }", 1))
	err := g.DropLive("a.test", "hand.test")
	if !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), g.nginx.ConfigFile+":") || !strings.Contains(err.Error(), "a.test") {
		t.Errorf("DropLive() = %v, want %v for both names, with the place", err, ErrHeld)
	}
	if err := g.nginx.Test(t); err != nil {
		t.Errorf("nginx cannot start any more: %v", err)
	}
	servers.List = []string{"b.test"}
	g.serve(t, servers)
	if err := g.DropLive("a.test"); err != nil {
		t.Errorf("DropLive() = %v after the release without the name", err)
	}
	if err := g.nginx.Test(t); err != nil {
		t.Error(err)
	}
}

func TestInspectFindsHeldNames(t *testing.T) {
	t.Parallel()
	g := newTLSRig(t, testkit.NginxOptions{})
	g.put(t, "*.w.test", "a.test", "b.test", "c.test")
	live := g.cfg.liveDir()
	outside := filepath.Join(filepath.Dir(g.cfg.StateDir), "linked")
	if err := os.Symlink(g.cfg.StateDir, outside); err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(g.nginx.Dir, filepath.Join(live, "c.test"))
	if err != nil {
		t.Fatal(err)
	}
	pair := func(path string) string {
		return "ssl_certificate " + path + "/fullchain.pem;\nssl_certificate_key " + path + "/privkey.pem;\n"
	}
	inc := filepath.Join(g.nginx.Dir, "inc.conf")
	write(t, inc, "# a comment\n"+pair(live+"/+.w.test"))
	write(t, g.nginx.ConfigFile, strings.Replace(read(t, g.nginx.ConfigFile), "access_log off;", strings.Join([]string{
		"access_log off;",
		"server { listen " + g.addr + " ssl; server_name a.test;", pair(live + "/a.test"), "ssl_trusted_certificate " + live + "/a.test/fullchain.pem; }",
		"server { listen " + g.addr + " ssl; server_name b.test;", pair(outside + "/live/b.test"), "root " + live + "/x.test/root; }",
		"server { listen " + g.addr + " ssl; server_name c.test;", pair(relative), "}",
		"server { listen " + g.addr + " ssl; server_name d.test;", pair(live + "/$ssl_server_name"), "}",
		"server { listen " + g.addr + " ssl; server_name e.test; include " + inc + "; }",
	}, "\n"), 1))
	g.serve(t, g.servers(NamesListed, "a.test", "z.test"))
	in, err := g.Inspect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for name, places := range in.HeldNames {
		counts[name] = len(places)
	}
	if want := map[string]int{"*.w.test": 2, "a.test": 3, "b.test": 2, "c.test": 2}; !maps.Equal(counts, want) {
		t.Errorf("HeldNames = %v, want %v places", in.HeldNames, want)
	}
	if want := []string{inc + ":2", inc + ":3"}; !slices.Equal(in.HeldNames["*.w.test"], want) {
		t.Errorf("HeldNames of *.w.test = %v, want %v", in.HeldNames["*.w.test"], want)
	}
}

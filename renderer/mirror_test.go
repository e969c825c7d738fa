package renderer

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// trickyHTTP is what operators write that a careless rewriting would spoil.
const trickyHTTP = `
	log_format tricky '$remote_addr "$request" {"a": "b;c"} include /etc/x; '
	                  "it's \"quoted\" \\ $status" # include /etc/comment;
	                  '$time_local';
	map $host $mapped {
		hostnames;
		default        "";
		"~^(?<sub>.+)\.a\.test$"   "x;y{z}";
		'~*\.(?:png|jpe?g){1,2}$' 'include "/etc/z";';
		*.b.test       b\ b;
	}
	geo $geo { default 0; 127.0.0.0/8 1; }
	server {
		listen unix:SOCK;
		set $v "a;b # c";
		if ($http_user_agent ~* "(?:bot|\"crawler\"){1,}") { return 403 "no; {way}\n"; }
		location ~ "^/x{2,3}/(.*)\.(php|cgi)$" { return 200 '${v}\t"$1"'; }
		location = "/a b" { return 204; }
	}
`

// chained makes a rig whose nginx reaches our include through files of its
// own: absolute and relative, by glob, by symlink and with neighbours.
func chained(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	g := newRig(t, testkit.NginxOptions{NoInclude: true, HTTP: strings.ReplaceAll(trickyHTTP, "SOCK", filepath.Join(dir, "s")) + `
	include "conf.d/*.conf" ; include ` + dir + `/absolute/'*'.conf;`})
	conf := read(t, g.nginx.ConfigFile)
	// A glob in quotes in the middle of a word is no quote to nginx.
	conf = strings.Replace(conf, "'*'", "*", 1)
	write(t, g.nginx.ConfigFile, conf)
	write(t, filepath.Join(g.nginx.Dir, "conf.d", "10-first.conf"), "map $uri $first { default relative.txt; }\n")
	write(t, filepath.Join(g.nginx.Dir, "conf.d", "30-relative.conf"), "include ../"+filepath.Base(g.nginx.Dir)+"/conf.d/deeper/x;\nserver { listen unix:"+dir+"/t; ssl_certificate cert.pem; ssl_certificate_key ./key.pem; }\n")
	write(t, filepath.Join(g.nginx.Dir, "conf.d", "deeper", "x"), "# nothing\n")
	write(t, filepath.Join(dir, "available", "tlsfleet"), "# it's ours {\n\n\tmap $uri $b { default b; } include   '"+strings.TrimSuffix(strings.TrimPrefix(g.cfg.IncludeLine(), "include "), ";")+"'; map $uri $c { default c; }\n")
	write(t, filepath.Join(dir, "absolute", "other.conf"), "map $uri $d { default d; }\n")
	if err := os.Symlink("../available/tlsfleet", filepath.Join(dir, "absolute", "ours.conf")); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestStagedReleaseIsTestedThroughTrickyConfiguration(t *testing.T) {
	t.Parallel()
	g := chained(t)
	if err := g.nginx.Test(t); err != nil {
		t.Fatalf("the operator's own configuration: %v", err)
	}
	g.nginx.Start(t)
	ring := newRing(t, 1)
	var steps []string
	g.cfg.OnStep = func(step string) { steps = append(steps, step) }
	g.mustProve(t, ringRelease(ring))
	if !slices.Equal(steps, Steps()) {
		t.Errorf("steps = %v, want %v: tested before the flip", steps, Steps())
	}
	if err := g.testStaged(t.Context(), 1); err != nil {
		t.Errorf("testStaged() = %v, want nil", err)
	}
	left, err := filepath.Glob(filepath.Join(g.cfg.releasesDir(), ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestStagedReleaseIsRefusedThroughTrickyConfiguration(t *testing.T) {
	t.Parallel()
	g := chained(t)
	g.nginx.Start(t)
	first := newRing(t, 1)
	g.mustProve(t, ringRelease(first))
	var flipped bool
	g.reopen(t, func(c *Config) {
		c.DefaultServers = []string{"127.0.0.1:1 ssl no_such_parameter"}
		c.OnStep = func(step string) { flipped = flipped || step == StepFlipped }
	})
	o := g.apply(t, ringRelease(newRing(t, 2)))
	if o.Reload.Result != fleet.ReloadRejected || !strings.Contains(o.Reload.Err, g.cfg.releaseDir(2)+"/20-default.conf:3") {
		t.Errorf("Apply() = %+v, want rejected for the third line of the staged file", o.Reload)
	}
	if flipped {
		t.Error("current was flipped before the test")
	}
}

func TestMoveIncludesChangesNothingElse(t *testing.T) {
	t.Parallel()
	text := strings.ReplaceAll(trickyHTTP, "SOCK", "/s") + "\tinclude /ours/*.conf; # include /ours/*.conf;\n\tmap $a $b { include /ours/*.conf; }\n"
	parsed, err := parseText([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var ds []at
	for _, d := range parsed {
		if d.Directive == "include" {
			ds = append(ds, at{d, "x"})
		}
	}
	got, err := moveIncludes([]byte(text), ds, "/mirror")
	want := strings.Replace(text, "\tinclude /ours", "\tinclude /mirror/ours", 1)
	if err != nil || string(got) != want {
		t.Errorf("moveIncludes() = %v\n%s\nwant\n%s", err, got, want)
	}
}

func TestMoveIncludesRefusesWhatItCannotPlace(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"comment inside":        "include # why\n /ours/x;",
		"same text in a string": `set $a " include /ours/x;"; include /ours/x;`,
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parsed, err := parseText([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(parsed, func(d *directive) bool { return d.Directive == "include" })
			if got, err := moveIncludes([]byte(text), []at{{parsed[i], "x"}}, "/m"); err == nil {
				t.Errorf("moveIncludes(%q) = %q, want an error", text, got)
			}
		})
	}
}

// unmirrored makes a rig whose include cannot be placed.
func unmirrored(t *testing.T) *rig {
	t.Helper()
	g := newRig(t, testkit.NginxOptions{NoInclude: true})
	line := strings.Replace(g.cfg.IncludeLine(), "include ", "include # of tlsfleet\n", 1)
	write(t, g.nginx.ConfigFile, strings.Replace(read(t, g.nginx.ConfigFile), "access_log off;", "access_log off; "+line, 1))
	g.nginx.Start(t)
	return g
}

func TestApplyWithoutMirrorTestsAfterTheFlip(t *testing.T) {
	t.Parallel()
	g := unmirrored(t)
	first := newRing(t, 1)
	g.mustProve(t, ringRelease(first))
	if err := g.testStaged(t.Context(), 1); !errors.Is(err, errNoMirror) {
		t.Fatalf("testStaged() = %v, want %v: this test shows nothing", err, errNoMirror)
	}
	g.reopen(t, func(c *Config) { c.DefaultServers = []string{"127.0.0.1:1 ssl no_such_parameter"} })
	o := g.apply(t, ringRelease(newRing(t, 2)))
	if o.Reload.Result != fleet.ReloadRejected || !strings.Contains(o.Reload.Err, "no_such_parameter") {
		t.Errorf("Apply() = %+v, want rejected", o.Reload)
	}
	if a := g.active(t); a.Release != 1 || !a.Good {
		t.Errorf("Active() = %+v, want release 1, good", a)
	}
	if err := g.nginx.Test(t); err != nil {
		t.Error(err)
	}
	g.wantKeyFiles(t, first)
}

func TestApplyWithUnreadableConfigurationProvesNothing(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "damaged.conf")
	write(t, file, "http {\n")
	in := (&Renderer{cfg: Config{ConfigFile: file}}).inspection()
	o := (&change{}).end(fleet.ReloadOK, nil).with(proofs{}, manifest{}, in)
	if o.Proved || !in.Included || in.Problems[0].Code != CodeConfigUnparsed {
		t.Errorf("with nothing read: %+v, %+v, want not proved and %s", o, in, CodeConfigUnparsed)
	}
}

func TestMirrorIsNotBelievedWhenItRefusesWhatNginxAccepts(t *testing.T) {
	t.Parallel()
	g := newRig(t, testkit.NginxOptions{})
	g.apply(t, ringRelease(newRing(t, 1)))
	c, err := g.parse()
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMirror(c, g.cfg.mirrorDir(9))
	if err != nil {
		t.Fatal(err)
	}
	m.files[g.cfg.ConfigFile] = []byte("spoiled_by_the_mirror;")
	if err := g.blame(t.Context(), m, &refusal{text: "x"}); !errors.Is(err, errNoMirror) {
		t.Errorf("blame() = %v, want %v", err, errNoMirror)
	}
	write(t, g.cfg.ConfigFile, "broken_by_the_operator;")
	var refused *refusal
	if err := g.blame(t.Context(), m, &refusal{text: "x"}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "broken_by_the_operator") {
		t.Errorf("blame() = %v, want a refusal for broken_by_the_operator", err)
	}
}

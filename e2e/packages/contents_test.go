package packages

import (
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mostBytes is how large the program may be, in bytes.
const mostBytes = 35_000_000

// both are the files of either package.
var both = []string{
	"-rwxr-xr-x /usr/bin/tlsfleet",
	"-rw-r--r-- /etc/tlsfleet/tlsfleet.hcl",
	"-rw-r--r-- /usr/lib/tmpfiles.d/tlsfleet.conf",
	"-rw-r--r-- /usr/share/bash-completion/completions/tlsfleet",
	"-rw-r--r-- /usr/share/doc/tlsfleet/changelog.gz",
	"-rw-r--r-- /usr/share/doc/tlsfleet/examples/consul-watch-events.hcl",
	"-rw-r--r-- /usr/share/doc/tlsfleet/examples/nginx-gateway.conf",
	"-rw-r--r-- /usr/share/doc/tlsfleet/third-party.gz",
	"-rw-r--r-- /usr/share/fish/vendor_completions.d/tlsfleet.fish",
	"-rw-r--r-- /usr/share/man/man5/tlsfleet.hcl.5.gz",
	"-rw-r--r-- /usr/share/man/man8/tlsfleet.8.gz",
	"-rw-r--r-- /usr/share/doc/tlsfleet/examples/nginx.conf",
	"-rw-r--r-- /usr/share/tlsfleet/grafana/tlsfleet.json",
	"-rw-r--r-- /usr/share/tlsfleet/nginx/tlsfleet.lua",
	"-rw-r--r-- /usr/share/tlsfleet/prometheus/alerts.yml",
}

func TestDebHolds(t *testing.T) {
	t.Parallel()
	deb := build(t, "deb", "amd64", "v1.2.3")
	want := append(slices.Clone(both),
		"-rw-r--r-- /etc/default/tlsfleet",
		"-rw-r--r-- /lib/systemd/system/tlsfleet.service",
		"-rw-r--r-- /lib/systemd/system/tlsfleet-restore.service",
		"-rw-r--r-- /usr/share/doc/tlsfleet/changelog.Debian.gz",
		"-rw-r--r-- /usr/share/doc/tlsfleet/copyright",
		"-rw-r--r-- /usr/share/lintian/overrides/tlsfleet",
		"-rw-r--r-- /usr/share/zsh/vendor-completions/_tlsfleet",
	)
	listing := output(t, "dpkg-deb", "-c", deb)
	wantFiles(t, regexp.MustCompile(`(?m)^(-\S+) root/root .* \.(/\S+)$`), listing, want)
	program := regexp.MustCompile(`(?m)^\S+ root/root +(\d+) .* \./usr/bin/tlsfleet$`).FindStringSubmatch(listing)
	if program == nil {
		t.Fatal("the listing does not say how large the program is")
	}
	if size, err := strconv.Atoi(program[1]); err != nil || size > mostBytes {
		t.Errorf("the program has %s bytes, want %d at most", program[1], mostBytes)
	}
	conffiles := strings.Fields(output(t, "dpkg-deb", "-I", deb, "conffiles"))
	if slices.Sort(conffiles); !slices.Equal(conffiles, []string{"/etc/default/tlsfleet", "/etc/tlsfleet/tlsfleet.hcl"}) {
		t.Errorf("conffiles = %v", conffiles)
	}
	lint(t, "lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", deb)
}

func TestRPMHolds(t *testing.T) {
	t.Parallel()
	rpm := build(t, "rpm", "amd64", "v1.2.3")
	want := append(slices.Clone(both),
		"-rw-r--r-- /etc/sysconfig/tlsfleet",
		"-rw-r--r-- /usr/lib/systemd/system/tlsfleet.service",
		"-rw-r--r-- /usr/lib/systemd/system/tlsfleet-restore.service",
		"-rw-r--r-- /usr/share/licenses/tlsfleet/LICENSE",
		"-rw-r--r-- /usr/share/zsh/site-functions/_tlsfleet",
	)
	wantFiles(t, regexp.MustCompile(`(?m)^(-\S+) root:root (/\S+)$`),
		output(t, "rpm", "-qp", "--qf", `[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]`, rpm), want)
	config := strings.Fields(output(t, "rpm", "-qpc", rpm))
	if slices.Sort(config); !slices.Equal(config, []string{"/etc/sysconfig/tlsfleet", "/etc/tlsfleet/tlsfleet.hcl"}) {
		t.Errorf("configuration files = %v", config)
	}
	lint(t, "rpmlint", "--config", top+"/packaging/rpm/rpmlint.toml", "--strict", rpm)
}

// wantFiles compares a listing, in which the pattern finds mode and path.
func wantFiles(t *testing.T, pattern *regexp.Regexp, listing string, want []string) {
	t.Helper()
	var got []string
	for _, m := range pattern.FindAllStringSubmatch(listing, -1) {
		got = append(got, m[1]+" "+m[2])
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("files = %s\nwant %s\nlisting: %s", strings.Join(got, "\n"), strings.Join(want, "\n"), listing)
	}
}

// lint wants a checker to find nothing but what the overrides list.
func lint(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", argv, err, out)
	}
}

// exposure is ten times what systemd-analyze may say of a unit at most.
const exposure = "21"

func TestUnitsAreSandboxed(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"tlsfleet.service", "tlsfleet-restore.service"} {
		lint(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+exposure, top+"/packaging/systemd/"+unit)
	}
}

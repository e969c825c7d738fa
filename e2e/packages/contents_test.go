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

// debHolds looks into a Debian package for an architecture.
func debHolds(t *testing.T, deb, arch string) {
	t.Helper()
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
	wantSmall(t, regexp.MustCompile(`(?m)^\S+ root/root +(\d+) .* \./usr/bin/tlsfleet$`), listing)
	if got := strings.TrimSpace(output(t, "dpkg-deb", "-f", deb, "Architecture")); got != arch {
		t.Errorf("the package is for %s, want %s", got, arch)
	}
	conffiles := strings.Fields(output(t, "dpkg-deb", "-I", deb, "conffiles"))
	if slices.Sort(conffiles); !slices.Equal(conffiles, []string{"/etc/default/tlsfleet", "/etc/tlsfleet/tlsfleet.hcl"}) {
		t.Errorf("conffiles = %v", conffiles)
	}
	lint(t, "lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", deb)
}

// rpmHolds looks into an RPM package for an architecture.
func rpmHolds(t *testing.T, rpm, arch string) {
	t.Helper()
	want := append(slices.Clone(both),
		"-rw-r--r-- /etc/sysconfig/tlsfleet",
		"-rw-r--r-- /usr/lib/systemd/system/tlsfleet.service",
		"-rw-r--r-- /usr/lib/systemd/system/tlsfleet-restore.service",
		"-rw-r--r-- /usr/share/licenses/tlsfleet/LICENSE",
		"-rw-r--r-- /usr/share/zsh/site-functions/_tlsfleet",
	)
	wantFiles(t, regexp.MustCompile(`(?m)^(-\S+) root:root (/\S+)$`),
		output(t, "rpm", "-qp", "--qf", `[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]`, rpm), want)
	wantSmall(t, regexp.MustCompile(`(?m)^(\d+) /usr/bin/tlsfleet$`), output(t, "rpm", "-qp", "--qf", `[%{FILESIZES} %{FILENAMES}\n]`, rpm))
	if got, want := output(t, "rpm", "-qp", "--qf", "%{ARCH}", rpm), map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]; got != want {
		t.Errorf("the package is for %s, want %s", got, want)
	}
	config := strings.Fields(output(t, "rpm", "-qpc", rpm))
	if slices.Sort(config); !slices.Equal(config, []string{"/etc/sysconfig/tlsfleet", "/etc/tlsfleet/tlsfleet.hcl"}) {
		t.Errorf("configuration files = %v", config)
	}
	lint(t, "rpmlint", "--config", top+"/packaging/rpm/rpmlint.toml", "--strict", rpm)
}

// wantSmall looks how large the program is, which the pattern finds in a listing.
func wantSmall(t *testing.T, pattern *regexp.Regexp, listing string) {
	t.Helper()
	program := pattern.FindStringSubmatch(listing)
	if program == nil {
		t.Fatal("the listing does not say how large the program is")
	}
	if size, err := strconv.Atoi(program[1]); err != nil || size > mostBytes {
		t.Errorf("the program has %s bytes, want %d at most", program[1], mostBytes)
	}
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

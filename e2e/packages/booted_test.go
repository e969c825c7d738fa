package packages

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// packages builds two versions into a folder, as v1.deb and v2.deb.
func packages(t *testing.T, packager string) string {
	t.Helper()
	dir := t.TempDir()
	if os.Getenv("TLSFLEET_BOOT") == "" {
		return dir // boot skips the test
	}
	for name, version := range map[string]string{"v1": "v1.0.0", "v2": "v1.1.0"} {
		if err := os.Rename(build(t, packager, "amd64", version), filepath.Join(dir, name+"."+packager)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// steps runs the parts of one story in their order, until one fails.
func steps(t *testing.T, m *machine, parts []step) {
	t.Helper()
	for _, p := range parts {
		if !t.Run(p.name, func(t *testing.T) { p.run(t, m) }) {
			return
		}
	}
}

type step struct {
	name string
	run  func(t *testing.T, m *machine)
}

func TestBootedDeb(t *testing.T) {
	m := host(t, "deb")
	steps(t, m, []step{
		{"install starts nothing", func(t *testing.T, m *machine) {
			m.sh(t, "dpkg -i /mnt/given/v1.deb")
			m.want(t, "systemctl is-active tlsfleet tlsfleet-restore", "inactive\ninactive")
			m.want(t, "systemctl is-enabled tlsfleet tlsfleet-restore", "disabled\ndisabled")
			m.want(t, "man -w tlsfleet tlsfleet.hcl", "/usr/share/man/man8/tlsfleet.8.gz\n/usr/share/man/man5/tlsfleet.hcl.5.gz")
			m.want(t, `source /usr/share/bash-completion/bash_completion; _completion_loader tlsfleet
				COMP_WORDS=(tlsfleet cert sh); COMP_CWORD=2; _tlsfleet; echo "${COMPREPLY[@]}"`, "show")
		}},
		{"the agent without keyring says what is missing", func(t *testing.T, m *machine) {
			if out, err := m.try("systemctl", "start", "tlsfleet"); err == nil {
				t.Errorf("start = %q, want it to fail", out)
			}
			m.await(t, "journalctl -u tlsfleet", "keyring init")
			m.sh(t, "systemctl stop tlsfleet")
		}},
		{"the agent follows in its sandbox", follows},
		{"certificates reach nginx's workers", certificates},
		{"a node waits to be admitted and gets its keyring in the sandbox", admitted},
		{"keys rotate", rotates},
		{"SIGHUP reloads the configuration", reloads},
		{"it is restarted when killed", killed},
		{"it is restarted when it hangs", hangs},
		{"nginx comes up after a reboot with Consul down", rebooted},
		{"an upgrade cuts no connection", func(t *testing.T, m *machine) {
			upgraded(t, m, "dpkg -i /mnt/given/v2.deb")
		}},
		{"removed, nginx starts without it", func(t *testing.T, m *machine) {
			m.sh(t, "dpkg -r tlsfleet")
			gone(t, m)
			m.sh(t, "grep -q shop /etc/tlsfleet/tlsfleet.hcl")
		}},
		{"purged, nothing is left", func(t *testing.T, m *machine) {
			m.sh(t, "dpkg -P tlsfleet")
			m.want(t, `find / -xdev -name '*tlsfleet*' -not -path '/var/lib/systemd/*' -not -path '/proc/*'; ls -d /run/tlsfleet 2>/dev/null`, "")
		}},
	})
}

func TestBootedRPM(t *testing.T) {
	m := host(t, "rpm")
	// Debian's rpm knows none of Debian's packages, hence --nodeps.
	steps(t, m, []step{
		{"install starts nothing", func(t *testing.T, m *machine) {
			m.sh(t, "groupadd --system nginx; sed -i 's/^user .*/user www-data nginx;/' /etc/nginx/nginx.conf; systemctl restart nginx")
			m.sh(t, "rpm --nodeps -i /mnt/given/v1.rpm")
			m.want(t, "systemctl is-active tlsfleet tlsfleet-restore", "inactive\ninactive")
		}},
		{"the agent follows in its sandbox", follows},
		{"certificates reach nginx's workers", certificates},
		{"an upgrade cuts no connection", func(t *testing.T, m *machine) {
			upgraded(t, m, "rpm --nodeps -U /mnt/given/v2.rpm")
		}},
		{"removed, nginx starts without it", func(t *testing.T, m *machine) {
			m.sh(t, "rpm -e tlsfleet")
			gone(t, m)
			m.want(t, "ls /etc/systemd/system/multi-user.target.wants | grep tlsfleet", "")
			m.sh(t, "grep -q shop /etc/tlsfleet/tlsfleet.hcl.rpmsave")
		}},
	})
}

func follows(t *testing.T, m *machine) {
	m.sh(t, configure)
	m.await(t, proved, provedIt)
	m.await(t, "systemctl show tlsfleet --value -p StatusText", "ring epoch 1 proved")
	m.sh(t, "systemd-analyze security --no-pager --threshold="+exposure+" tlsfleet.service tlsfleet-restore.service")
	if out := m.sh(t, proved); strings.Contains(out, "warning") || strings.Contains(out, "alarm") {
		t.Errorf("status = %s, want no problem", out)
	}
}

func certificates(t *testing.T, m *machine) {
	m.sh(t, "cd /etc/nginx/own && tlsfleet cert import --allow-no-chain fleet.test.pem fleet.test.key")
	m.await(t, "openssl s_client -connect 127.0.0.1:8443 -servername fleet.test -CAfile /etc/nginx/own/ca.pem -verify_return_error </dev/null", "CN = fleet.test")
	m.await(t, "systemctl show tlsfleet --value -p StatusText", " 1 names")
	if out := m.sh(t, proved); strings.Contains(out, "warning") || strings.Contains(out, "alarm") {
		t.Errorf("status = %s, want no problem", out)
	}
}

// admitted has the agent take its keyring from Consul from now on. It waits for
// longer than the watchdog lets a silent one live.
func admitted(t *testing.T, m *machine) {
	m.sh(t, `cp /etc/tlsfleet/tlsfleet.hcl /run/operator.hcl
		sed -i "s|^keyring {|&\n  from = \"consul\"\n  operator = \"$(tlsfleet node operator 2>/dev/null)\"|" /etc/tlsfleet/tlsfleet.hcl
		mkdir -p /run/systemd/system/tlsfleet.service.d
		printf '[Service]\nWatchdogSec=6s\n' >/run/systemd/system/tlsfleet.service.d/soon.conf
		systemctl daemon-reload; systemctl restart tlsfleet; sleep 15`)
	if restarts, status := m.property(t, "tlsfleet", "NRestarts"), m.property(t, "tlsfleet", "StatusText"); restarts != "0" || !strings.Contains(status, "waiting to be admitted") {
		t.Fatalf("restarts = %s, status %q, want none while it waits to be admitted", restarts, status)
	}
	m.sh(t, `TLSFLEET_CONFIG=/run/operator.hcl $(tlsfleet node init | sed -n "s/^on the operator's host: //p")`)
	m.await(t, proved, provedIt)
	m.want(t, "cd /var/lib/tlsfleet && stat -c '%a %U %n' keyring keyring.generation node.age", "600 root keyring\n600 root keyring.generation\n600 root node.age")
	m.sh(t, "rm -r /run/systemd/system/tlsfleet.service.d; systemctl daemon-reload; systemctl restart tlsfleet")
	m.await(t, proved, provedIt)
	if out := m.sh(t, proved); strings.Contains(out, "warning") || strings.Contains(out, "alarm") {
		t.Errorf("status = %s, want no problem", out)
	}
}

// rotates also ends an old worker, which is another user's process.
func rotates(t *testing.T, m *machine) {
	m.sh(t, "tlsfleet rotate-ticket --wait")
	c := hold(t, m)
	m.sh(t, "tlsfleet rotate-ticket --emergency")
	m.want(t, "pgrep -fc 'worker process is shutting down'", "0")
	if answer, err := c.ask(); err == nil {
		t.Errorf("answer of an old worker = %q, want it to have been ended", answer)
	}
	m.await(t, proved, provedIt)
}

func reloads(t *testing.T, m *machine) {
	before := m.property(t, "tlsfleet", "MainPID")
	m.sh(t, `sed -i 's/#level = "info"/level = "debug"/' /etc/tlsfleet/tlsfleet.hcl; systemctl reload tlsfleet`)
	m.await(t, "systemctl show tlsfleet -p ActiveState -p MainPID", "MainPID="+before+"\nActiveState=active")
	m.await(t, "journalctl -u tlsfleet", "configuration changed")
	m.sh(t, `sed -i 's/level = "debug"/level = "info"/' /etc/tlsfleet/tlsfleet.hcl; systemctl reload tlsfleet`)
	m.sh(t, "cp /etc/tlsfleet/tlsfleet.hcl /tmp/sound; echo nonsense >>/etc/tlsfleet/tlsfleet.hcl; systemctl reload tlsfleet")
	m.await(t, "systemctl show tlsfleet -p ActiveState -p MainPID", "MainPID="+before+"\nActiveState=active")
	m.sh(t, "cp /tmp/sound /etc/tlsfleet/tlsfleet.hcl")
	m.await(t, proved, provedIt)
}

func killed(t *testing.T, m *machine) {
	nginx := m.sh(t, "cat /run/nginx.pid")
	before := m.property(t, "tlsfleet", "NRestarts")
	m.sh(t, "kill -KILL $(systemctl show tlsfleet --value -p MainPID)")
	restarted(t, m, before)
	m.want(t, "cat /run/nginx.pid", strings.TrimSpace(nginx))
}

func hangs(t *testing.T, m *machine) {
	m.sh(t, `mkdir -p /run/systemd/system/tlsfleet.service.d
		printf '[Service]\nWatchdogSec=6s\n' >/run/systemd/system/tlsfleet.service.d/soon.conf
		systemctl daemon-reload; systemctl restart tlsfleet; sleep 15`)
	before := m.property(t, "tlsfleet", "NRestarts")
	if before != "0" {
		t.Fatalf("restarts while all is well = %s, want 0", before)
	}
	m.sh(t, "kill -STOP $(systemctl show tlsfleet --value -p MainPID)")
	restarted(t, m, before)
	m.await(t, "journalctl -u tlsfleet", "result 'watchdog'")
	m.sh(t, "rm -r /run/systemd/system/tlsfleet.service.d; systemctl daemon-reload")
}

func restarted(t *testing.T, m *machine, before string) {
	t.Helper()
	m.await(t, `[ "$(systemctl show tlsfleet --value -p NRestarts)" != `+before+" ] && systemctl is-active tlsfleet", "active")
	m.await(t, proved, provedIt)
}

func rebooted(t *testing.T, m *machine) {
	// A TLS 1.2 ticket, taken before the reboot.
	m.sh(t, ticket+" -sess_out /var/tmp/ticket </dev/null")
	m.sh(t, "systemctl disable consul")
	m.reboot(t)
	m.want(t, "systemctl is-active nginx consul tlsfleet-restore", "active\ninactive\nactive")
	m.await(t, ticket+" -sess_in /var/tmp/ticket </dev/null", "Reused, TLSv1.2")
	order := m.sh(t, "systemctl show nginx tlsfleet-restore --value -p ExecMainStartTimestampMonotonic")
	if times := strings.Fields(order); len(times) != 2 || len(times[0]) < len(times[1]) || len(times[0]) == len(times[1]) && times[0] < times[1] {
		t.Errorf("nginx and restore started at %v, want restore first", times)
	}
	m.sh(t, "systemctl enable --now consul")
	m.await(t, proved, provedIt)
}

var workerLine = regexp.MustCompile(`(?m)^\d+$`)

func upgraded(t *testing.T, m *machine, install string) {
	workers := workerLine.FindAllString(m.sh(t, "pgrep -f 'nginx: worker process'"), -1)
	before := m.property(t, "tlsfleet", "MainPID")
	c := hold(t, m)
	m.sh(t, install)
	m.await(t, `[ "$(systemctl show tlsfleet --value -p MainPID)" != `+before+" ] && systemctl is-active tlsfleet", "active")
	m.await(t, proved, provedIt)
	m.want(t, "tlsfleet version", "v1.1.0")
	m.want(t, "readlink /proc/$(systemctl show tlsfleet --value -p MainPID)/exe", "/usr/bin/tlsfleet")
	if answer, err := c.ask(); err != nil || !strings.Contains(answer, "own") {
		t.Errorf("answer on the connection held over the upgrade = %q, %v, want it served", answer, err)
	}
	if after := workerLine.FindAllString(m.sh(t, "pgrep -f 'nginx: worker process'"), -1); strings.Join(workers, " ") != strings.Join(after, " ") {
		t.Errorf("nginx's workers = %v, then %v, want the same", workers, after)
	}
	m.sh(t, `grep -q '^fleet = "shop"' /etc/tlsfleet/tlsfleet.hcl`)
}

// gone wants a removed package to have left nginx in service, over a restart.
func gone(t *testing.T, m *machine) {
	t.Helper()
	m.want(t, "systemctl is-active nginx tlsfleet", "active\ninactive")
	m.sh(t, "rm -rf /run/tlsfleet; systemctl restart nginx") // as after a reboot
	m.want(t, "systemctl is-active nginx", "active")
	m.want(t, "ls /usr/bin/tlsfleet 2>/dev/null", "")
}

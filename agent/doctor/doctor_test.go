package doctor_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/doctor"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/renderer"
)

var (
	now       = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	errOdd    = errors.New("odd")
	errDenied = fmt.Errorf("open x: %w", fs.ErrPermission)
)

// TestJudgements gives each judge what it passes, and each way in which it does
// not. Planted faults on real parts are in e2e.
func TestJudgements(t *testing.T) {
	t.Parallel()
	modern := func(s renderer.Survey) doctor.Nginx {
		if s.NginxVersion == "" {
			s.NginxVersion = "1.28.0"
		}
		s.Included = true
		return doctor.Nginx{Survey: s, Running: true, Root: true}
	}
	holding := func(version string) doctor.Nginx {
		return modern(renderer.Survey{Inspection: renderer.Inspection{NginxVersion: version, HeldNames: map[string][]string{"a.test": {"nginx.conf:1"}}}})
	}
	one := func(f doctor.Finding) []doctor.Finding { return []doctor.Finding{f} }
	entry := func(name string, left time.Duration, source fleet.Source) fleet.Entry {
		return fleet.Entry{Name: name, NotAfter: now.Add(left), Source: source}
	}
	const day = 24 * time.Hour
	tests := map[string]struct {
		list  []doctor.Finding
		id    string
		level doctor.Level
		says  string
	}{
		"config, sound":      {one(doctor.Config("c", nil, false)), "config", doctor.OK, "sound"},
		"config, not seen":   {one(doctor.Config("c", errDenied, false)), "config", doctor.Skipped, "permission"},
		"keyring, not seen":  {one(doctor.Keyring{Err: errDenied}.Judge(now)), "keyring", doctor.Skipped, "permission"},
		"keyring, awaited":   {one(doctor.Keyring{Err: fs.ErrNotExist, Path: "p", From: "consul"}.Judge(now)), "keyring", doctor.Failure, "was not admitted"},
		"keyring, torn":      {one(doctor.Keyring{Err: errOdd, Path: "p", From: "consul"}.Judge(now)), "keyring", doctor.Failure, "odd"},
		"identity, sound":    {one(doctor.Identity("p", "age1x", nil)), "node-identity", doctor.OK, "age1x"},
		"identity, hidden":   {one(doctor.Identity("p", "", errDenied)), "node-identity", doctor.Skipped, "permission"},
		"identity, lost":     {one(doctor.Identity("p", "", fs.ErrNotExist)), "node-identity", doctor.Warning, "p is not there"},
		"identity, damaged":  {one(doctor.Identity("p", "", errOdd)), "node-identity", doctor.Failure, "odd"},
		"operator, here":     {one(doctor.OperatorKey("p", nil)), "operator-key", doctor.Warning, "p is on a node"},
		"operator, odd":      {one(doctor.OperatorKey("p", errOdd)), "operator-key", doctor.Warning, "p is on a node"},
		"operator, hidden":   {one(doctor.OperatorKey("p", errDenied)), "operator-key", doctor.Skipped, "permission"},
		"operator, not here": {one(doctor.OperatorKey("p", fs.ErrNotExist)), "operator-key", doctor.OK, "not on this host"},
		"keyring, sound":     {one(doctor.Keyring{Keys: []string{"ab"}, Made: now.Add(-90 * day)}.Judge(now)), "keyring", doctor.OK, "90 days"},
		"leaders, sound":     {one(doctor.Keyring{ID: "leader-keyring", Keys: []string{"ab"}, Made: now}.Judge(now)), "leader-keyring", doctor.OK, "ab seals"},
		"leaders, none":      {one(doctor.Keyring{ID: "leader-keyring", Err: fs.ErrNotExist, Path: "p"}.Judge(now)), "leader-keyring", doctor.Failure, "p is not there"},
		"keys, alike":        {one(doctor.Keys{Here: []string{"a"}, Nodes: []doctor.NodeKeys{{"x", []string{"a"}}, {"silent", nil}}}.Judge()), "keyring-nodes", doctor.OK, "this host"},
		"keys, one lacks it": {one(doctor.Keys{Here: []string{"a"}, Nodes: []doctor.NodeKeys{{"x", []string{"b"}}}}.Judge()), "keyring-nodes", doctor.Failure, "x lacks the key a"},
		"keys, lacked here":  {one(doctor.Keys{Here: []string{"a"}, Nodes: []doctor.NodeKeys{{"x", []string{"b", "a"}}}}.Judge()), "keyring-nodes", doctor.Failure, "x seals with b"},
		"keys, moving":       {one(doctor.Keys{Here: []string{"b", "a"}, Nodes: []doctor.NodeKeys{{"x", []string{"a", "b"}}}}.Judge()), "keyring-nodes", doctor.Warning, "x has a b"},
		"keys, not ended":    {one(doctor.Keys{Here: []string{"b", "a"}}.Judge()), "keyring-nodes", doctor.Warning, "2 keys"},
		"keys, unknown":      {one(doctor.Keys{Err: errOdd}.Judge()), "keyring-nodes", doctor.Skipped, "odd"},
		"consul, old":        {doctor.Consul{Version: "1.13.9"}.Judge(), "consul-version", doctor.Failure, "1.13.9"},
		"consul, untested":   {doctor.Consul{Version: "1.17.0"}.Judge(), "consul-version", doctor.Warning, "tested"},
		"consul, new":        {doctor.Consul{Version: "1.20.6+ent"}.Judge(), "consul-version", doctor.OK, "1.20.6"},
		"consul, in clear":   {doctor.Consul{Address: "http://10.0.0.1:8500"}.Judge(), "consul-tls", doctor.Failure, "10.0.0.1"},
		"consul, by TLS":     {doctor.Consul{TLS: true}.Judge(), "consul-tls", doctor.OK, "TLS"},
		"consul, mute":       {doctor.Consul{Local: errOdd}.Judge(), "consul-gossip", doctor.Skipped, "odd"},
		"access, unknown":    {doctor.Access{Err: errOdd}.Judge(), "consul-rights", doctor.Skipped, "odd"},
		"access, both":       {doctor.Access{Role: "agent", Lacks: []string{"x"}, Wide: []string{"y"}}.Judge(), "consul-rights", doctor.Failure, "x"},
		"clock, right":       {one(doctor.Clock{Now: now, Consul: now.Add(-2 * time.Second)}.Judge()), "clock", doctor.OK, "5s"},
		"clock, behind":      {one(doctor.Clock{Now: now, Ahead: []string{"n2"}}.Judge()), "clock", doctor.Warning, "n2"},
		"clock, loose":       {one(doctor.Clock{Now: now, Unsynced: true}.Judge()), "clock", doctor.Warning, "unsynchronised"},
		"clock, unknown":     {one(doctor.Clock{Now: now, Err: errOdd}.Judge()), "clock", doctor.Skipped, "odd"},
		"nginx, modern":      {modern(renderer.Survey{}).Judge(), "nginx", doctor.OK, "1.28.0"},
		"nginx, 1.26":        {modern(renderer.Survey{Inspection: renderer.Inspection{NginxVersion: "1.26.3"}}).Judge(), "nginx", doctor.OK, "1.27.4"},
		"nginx, 1.22":        {modern(renderer.Survey{Inspection: renderer.Inspection{NginxVersion: "1.22.1"}}).Judge(), "nginx", doctor.Warning, "TLS 1.3"},
		"nginx, too old":     {doctor.Nginx{Survey: renderer.Survey{Inspection: renderer.Inspection{NginxVersion: "1.18.0"}}}.Judge(), "nginx", doctor.Failure, "1.19.4"},
		"nginx, unread":      {doctor.Nginx{Err: errOdd}.Judge(), "nginx-paths", doctor.Skipped, "odd"},
		"nginx, partly read": {modern(renderer.Survey{}).Judge(), "nginx-include", doctor.Warning, "in full"}, // nothing was parsed
		"nginx, 1.30 static": {holding("1.30.6").Judge(), "nginx-renewals", doctor.Warning, "a.test"},
		"nginx, 1.26 static": {holding("1.26.3").Judge(), "nginx-renewals", doctor.OK, "no tickets"},
		"nginx, hidden":      {doctor.Nginx{Process: errDenied}.Judge(), "nginx-process", doctor.Skipped, "permission"},
		"folders, none":      {one(doctor.Folders([]doctor.Folder{{Err: fs.ErrNotExist}}, 0)), "folders", doctor.Warning, "none"},
		"folders, a file":    {one(doctor.Folders([]doctor.Folder{{Path: "f", Most: 0o750, Mode: 0o640}}, 0)), "folders", doctor.Failure, "no folder"},
		"folders, sound":     {one(doctor.Folders([]doctor.Folder{{Path: "f", Most: 0o750, Mode: fs.ModeDir | 0o710}}, 0)), "folders", doctor.OK, "1 folders"},
		"tmpfs, hidden":      {one(doctor.Tmpfs("d", errDenied, false)), "run-dir", doctor.Skipped, "permission"},
		"swap, none":         {one(doctor.Swap{}.Judge()), "swap", doctor.OK, "no swap"},
		"swap, safe":         {one(doctor.Swap{Areas: []doctor.SwapArea{{"/dev/dm-1", true}}}.Judge()), "swap", doctor.OK, "encrypted"},
		"swap, open":         {one(doctor.Swap{Areas: []doctor.SwapArea{{"/dev/dm-1", true}, {"/swap", false}}}.Judge()), "swap", doctor.Warning, "/swap"},
		"swap, noswap":       {one(doctor.Swap{Areas: []doctor.SwapArea{{"/swap", false}}, NoSwap: true, RunDir: "/run/t"}.Judge()), "swap", doctor.Warning, "/run/t stay"},
		"restore, sound":     {one(doctor.Unit{Systemd: true, Name: "r.service", Enabled: true, Before: true}.Judge()), "restore", doctor.OK, "r.service"},
		"restore, none":      {one(doctor.Unit{Systemd: true}.Judge()), "restore", doctor.Failure, "no unit"},
		"restore, off":       {one(doctor.Unit{Systemd: true, Name: "r.service", Before: true}.Judge()), "restore", doctor.Failure, "not enabled"},
		"restore, late":      {one(doctor.Unit{Systemd: true, Name: "r.service", Enabled: true}.Judge()), "restore", doctor.Warning, "before nginx"},
		"ring, young":        {one(doctor.Ring{Mode: fleet.ModeRing, Changed: now.Add(-13 * time.Hour), Every: 12 * time.Hour, Grace: 2 * time.Hour}.Judge(now)), "ring", doctor.OK, "13h"},
		"ring, old":          {one(doctor.Ring{Mode: fleet.ModeRing, Changed: now.Add(-15 * time.Hour), Every: 12 * time.Hour, Grace: 2 * time.Hour}.Judge(now)), "ring", doctor.Warning, "15h"},
		"ring, own keys":     {one(doctor.Ring{Mode: fleet.ModePerHost}.Judge(now)), "ring", doctor.Failure, "of its own"},
		"nodes, sound":       {doctor.Members([]doctor.Member{{"a", true, now}}, "", nil, now), "nodes", doctor.OK, "1 nodes"},
		"nodes, one late":    {doctor.Members([]doctor.Member{{"a", true, now}, {"b", false, now}}, "", nil, now), "nodes", doctor.Warning, "b"},
		"nodes, no ring":     {doctor.Members(nil, "forged", nil, now), "nodes", doctor.Failure, "forged"},
		"reports, stale":     {doctor.Members([]doctor.Member{{"a", true, now.Add(-3 * time.Minute)}}, "", nil, now), "reports", doctor.Warning, "a (3m"},
		"agent, sound":       {one(doctor.Agent(nil, nil)), "agent", doctor.OK, "no problem"},
		"agent, alarm": {one(doctor.Agent([]fleet.Problem{
			{Code: "small", Severity: fleet.Warning}, {Code: "large", Severity: fleet.Alarm, Hint: "mend it"},
		}, nil)), "agent", doctor.Failure, "large"},
		"agent, warning":    {one(doctor.Agent([]fleet.Problem{{Code: "small", Severity: fleet.Warning}}, nil)), "agent", doctor.Warning, "small"},
		"expiry, none":      {one(doctor.Expiry(nil, nil, now)), "expiry", doctor.OK, "no certificates"},
		"expiry, sound":     {one(doctor.Expiry([]fleet.Entry{entry("b", 40*day, fleet.SourceImport), entry("a", 3*day, fleet.SourceACME)}, nil, now)), "expiry", doctor.OK, "a on 2026-11-04"},
		"expiry, imported":  {one(doctor.Expiry([]fleet.Entry{entry("b", 13*day, fleet.SourceImport)}, nil, now)), "expiry", doctor.Warning, "b on"},
		"expiry, obtained":  {one(doctor.Expiry([]fleet.Entry{entry("a", day, fleet.SourceACME)}, nil, now)), "expiry", doctor.Warning, "a on"},
		"expiry, ended":     {one(doctor.Expiry([]fleet.Entry{entry("a", -day, fleet.SourceACME)}, nil, now)), "expiry", doctor.Failure, "a on"},
		"expiry, removed":   {one(doctor.Expiry([]fleet.Entry{{Name: "a", Removed: true}}, nil, now)), "expiry", doctor.OK, "no certificates"},
		"expiry, unread":    {one(doctor.Expiry(nil, errDenied, now)), "expiry", doctor.Skipped, "permission"},
		"domains, parked":   {one(doctor.Parked([]string{"a", "b", "c", "d", "e", "f"}, nil)), "domains", doctor.Warning, "and 2 more"},
		"domains, sound":    {one(doctor.Parked(nil, nil)), "domains", doctor.OK, "no name"},
		"quarantine, sound": {one(doctor.Quarantine(nil, nil)), "quarantine", doctor.OK, "no certificate"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, f := range tt.list {
				if f.Level != doctor.OK && f.Level != doctor.Skipped && f.Mend == "" {
					t.Errorf("%+v says nothing of what to do", f)
				}
				if f.ID != tt.id {
					continue
				}
				if f.Level != tt.level || !strings.Contains(f.Text, tt.says) {
					t.Errorf("%s = %+v, want %s with %q", tt.id, f, tt.level, tt.says)
				}
				return
			}
			t.Errorf("no finding %s in %+v", tt.id, tt.list)
		})
	}
}

func TestOlder(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		a, b string
		want bool
	}{
		"same": {"1.27.4", "1.27.4", false}, "patch": {"1.27.3", "1.27.4", true}, "two digits": {"1.9.15", "1.15.9", true},
		"shorter": {"1.27", "1.27.4", true}, "longer": {"1.27.4.1", "1.27.4", false}, "major": {"2.0.0", "1.27.4", false},
		"with a suffix": {"1.14.0-beta1", "1.14", false}, "none": {"", "1.14", true},
	}
	for name, tt := range tests {
		if got := doctor.Older(tt.a, tt.b); got != tt.want {
			t.Errorf("%s: Older(%q, %q) = %t, want %t", name, tt.a, tt.b, got, tt.want)
		}
	}
}

func TestParseSwaps(t *testing.T) {
	t.Parallel()
	const text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/dm-1                               partition\t2097148\t\t0\t\t-2\n/swap.img file 1 0 -3\n"
	got := doctor.ParseSwaps(text, func(path string) bool { return path == "/dev/dm-1" })
	if len(got) != 2 || got[0] != (doctor.SwapArea{Path: "/dev/dm-1", Safe: true}) || got[1] != (doctor.SwapArea{Path: "/swap.img"}) {
		t.Errorf("ParseSwaps() = %+v, want an encrypted partition and a file", got)
	}
}

func TestHasNoSwap(t *testing.T) {
	t.Parallel()
	const mounts = `25 1 8:1 / / rw - ext4 /dev/sda1 rw
26 25 0:24 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=1k
27 26 0:25 / /run/keys rw - tmpfs tmpfs rw,noswap,size=1k
`
	for path, want := range map[string]bool{"/run/tlsfleet": false, "/run/keys": true, "/run/keys/tls": true, "/run/keysafe": false, "/etc": false} {
		if got := doctor.HasNoSwap(mounts, path); got != want {
			t.Errorf("HasNoSwap(%s) = %t, want %t", path, got, want)
		}
	}
}

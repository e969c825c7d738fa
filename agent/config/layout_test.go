package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

const examplePath = "../../packaging/tlsfleet.hcl"

func readExample(t *testing.T) string {
	t.Helper()
	src, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	return string(src)
}

// TestLayoutNamesEveryField finds a field of Config that no attribute sets, and
// a field that two set.
func TestLayoutNamesEveryField(t *testing.T) {
	var c Config
	bound := map[any]string{}
	for _, b := range layout(&c) {
		for _, a := range b.attrs {
			if other, twice := bound[a.dst]; twice {
				t.Errorf("%s and %s set the same field", join(b.name, a.name), other)
			}
			bound[a.dst] = join(b.name, a.name)
		}
	}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		for i := range v.NumField() {
			name := strings.TrimPrefix(path+"."+v.Type().Field(i).Name, ".")
			f := v.Field(i)
			if name == "CAs" || name == "DNS" || name == "Notify" || name == "Archives" {
				continue // of blocks with a label: see TestParseSetsEveryField
			}
			if f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[fleet.Secret]() && f.Type() != reflect.TypeFor[fleet.Share]() {
				walk(f, name)
				continue
			}
			full, ok := bound[f.Addr().Interface()]
			plain := strings.ReplaceAll(full, "_", "")
			if !ok || !strings.EqualFold(plain, name) {
				t.Errorf("Config.%s is set by %q, want an attribute of the same name", name, full)
			}
		}
	}
	walk(reflect.ValueOf(&c).Elem(), "")
}

func TestExampleParsesToDefaults(t *testing.T) {
	want := Default()
	want.Fleet = "edge"
	want.Socket = "/run/tlsfleet/agent.sock"
	want.Keyring.IdentityFile = "/var/lib/tlsfleet/node.age"
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want.Node = host
	src := readExample(t)
	// Every setting, with its # removed, has to be the default.
	bare := regexp.MustCompile(`(?m)^(\s*)#([a-z0-9_]+ = )`).ReplaceAllString(src, "$1$2")
	if bare == src {
		t.Fatal("the example has no commented settings")
	}
	for name, text := range map[string]string{"as it is": src, "all settings": bare, "fleet only": `fleet = "edge"`} {
		got, err := Parse([]byte(text), examplePath)
		if err != nil {
			t.Errorf("%s: Parse = %v, want nil", name, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: Parse = %+v, want %+v", name, got, want)
		}
	}
}

func TestExampleNamesEveryAttribute(t *testing.T) {
	var in string
	var got []string
	for line := range strings.Lines(readExample(t)) {
		if m := regexp.MustCompile(`^([a-z]+) \{`).FindStringSubmatch(line); m != nil {
			in = m[1]
		}
		if strings.HasPrefix(line, "}") {
			in = ""
		}
		if m := regexp.MustCompile(`^\s*#?([a-z0-9_]+) = `).FindStringSubmatch(line); m != nil {
			got = append(got, join(in, m[1]))
		}
	}
	var want []string
	for _, b := range layout(&Config{}) {
		for _, a := range b.attrs {
			want = append(want, join(b.name, a.name))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s names %v\nwant each once: %v", examplePath, got, want)
	}
}

// TestParseSetsEveryField has a value for each attribute that is not its
// default, so that a value that goes astray shows.
func TestParseSetsEveryField(t *testing.T) {
	src := `
fleet = "f"
node = "n"
address = "fd00::1"
keyring_file = "/k"
state_dir = "/s"
run_dir = "/r"
allow_persistent_keys = true
socket = "/x/a.sock"
socket_group = "adm"
keyring {
  from = "consul"
  identity_file = "/id"
  operator = "tlsfleet-operator-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
  operator_key_file = "/op"
}
consul {
  address = "https://consul.example:8501"
  scheme = "https"
  token = "t0k3n"
  datacenter = "dc1"
  namespace = "ns"
  partition = "p"
  ca_file = "/ca"
  ca_path = "/cap"
  cert_file = "/c"
  key_file = "/ck"
  server_name = "server.dc1.consul"
  tls_skip_verify = true
  service_ttl = "1m"
}
nginx {
  binary = "/n"
  config_file = "/nc"
  pid_file = "/np"
  default_servers = ["443 ssl", "[::]:443 ssl http2", "unix:/s.sock ssl", "10.0.0.1:8443 ssl proxy_protocol", "*:1 ssl"]
  release_address = "[::1]:1"
  verify_timeout = "2s"
  old_worker_limit = "3s"
  reprove_every = "4s"
}
certificates {
  mode = "variable"
  names = "open"
  listen = ["444 ssl"]
  server_include = "/i"
  worker_group = "g"
  max_loss_percent = 7
  keep_replaced = "9s"
  gateway_socket = "/g.sock"
  gateway_group = "h"
  on_demand_mib = 12
}
sites {
  templates_dir = "/st"
  snippets_dir = "/sn"
  waves = false
  canary = "10%"
  prove_within = "3s"
}
acme {
  http01 = "agent"
  challenge_address = "127.0.0.1:2"
  http_listen = ["80", "[::]:80"]
  parallel = 3
  preflight = false
  preflight_nodes = true
  resolver = "[::1]:53"
  http_port = 8080
  contact = ["mailto:a@b.test"]
  domains_socket = "/d.sock"
  domains_group = "blog"
}
ca "one" {
  directory = "https://ca.test/dir"
}
ca "two" {
  directory = "https://two.test"
  staging = "https://staging.two.test"
  root_file = "/roots"
  eab_key_id = "kid"
  eab_key_file = "/mac"
  order_limit = "7/1m"
  domain_limit = "none"
  set_limit = "1/24h"
  failure_limit = "2/1h"
  profile_names = { small = 7, "a-b.c" = 100 }
}
dns "corp" {
  provider = "rfc2136"
  domains = ["a.test", "b.test"]
  wildcards_only = true
  settings = { DNSUPDATE_NAMESERVER = "ns.a.test", "DNSUPDATE_TSIG_SECRET_FILE" = "/ts" }
  settings_file = "/df"
  propagation = "never"
  nameservers = ["[::1]:53"]
}
dns "all" {
  provider = "exec"
  domains = ["*"]
}
notify "hook" {
  webhook = "https://hooks.test/x?y=z"
  key_file = "/hk"
  allow_private = true
  kinds = ["certificate.parked", "node.problem"]
}
notify "exec" {
  command = ["/bin/x", "y"]
}
ticket {
  rotate_every = "24h"
  session_timeout = "3h"
  apply_lag = "0s"
  policy = "proceed"
  deadline = "5s"
  accept_event_keys = true
  watch_events = false
  resume_every = "never"
  stale_after = "never"
}
reload {
  splay = "0s"
  quiet = "0s"
  max_quiet = "0s"
  min_interval = "0s"
  max_share = "2"
  slot_wait = "1s"
}
http {
  address        = "[::]:9"
  cert_file      = "/hc"
  key_file       = "/hk"
  client_ca_file = "/hca"
  token_file     = "/ht"
}
leader {
  eligible = false
  keyring_file = "/leaders"
  ttl = "10s"
}
log {
  level = "debug"
  format = "json"
}`
	want := Config{
		Fleet: "f", Node: "n", Address: "fd00::1", KeyringFile: "/k", StateDir: "/s", RunDir: "/r",
		AllowPersistentKeys: true, Socket: "/x/a.sock", SocketGroup: "adm",
		Keyring: Keyring{KeyringConsul, "/id", "tlsfleet-operator-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "/op"},
		Consul: Consul{Address: "https://consul.example:8501", Scheme: "https", Token: fleet.NewSecret([]byte("t0k3n")),
			Datacenter: "dc1", Namespace: "ns", Partition: "p", CAFile: "/ca", CAPath: "/cap", CertFile: "/c",
			KeyFile: "/ck", ServerName: "server.dc1.consul", TLSSkipVerify: true, ServiceTTL: time.Minute},
		Nginx: Nginx{Binary: "/n", ConfigFile: "/nc", PIDFile: "/np",
			DefaultServers: []string{"443 ssl", "[::]:443 ssl http2", "unix:/s.sock ssl", "10.0.0.1:8443 ssl proxy_protocol", "*:1 ssl"},
			ReleaseAddress: "[::1]:1", VerifyTimeout: 2 * time.Second, OldWorkerLimit: 3 * time.Second,
			ReproveEvery: 4 * time.Second},
		Ticket: Ticket{RotateEvery: 24 * time.Hour, SessionTimeout: 3 * time.Hour, Policy: PolicyProceed,
			Deadline: 5 * time.Second, AcceptEventKeys: true},
		Certificates: Certificates{CertVariable, NamesOpen, []string{"444 ssl"}, "/i", "g", 7, 9 * time.Second, "/g.sock", "h", 12},
		Sites:        Sites{false, fleet.Share{Percent: 10}, 3 * time.Second, "/st", "/sn"},
		ACME:         ACME{HTTP01Agent, "127.0.0.1:2", []string{"80", "[::]:80"}, 3, false, true, "[::1]:53", 8080, []string{"mailto:a@b.test"}, "/d.sock", "blog"},
		CAs: []CA{defaultCAOf("one", "https://ca.test/dir"), {"two", "https://two.test", "https://staging.two.test", "/roots", "kid", "/mac",
			Limit{7, time.Minute}, Limit{}, Limit{1, day}, Limit{2, time.Hour}, map[string]int{"small": 7, "a-b.c": 100}}},
		DNS: []DNS{
			{"corp", lineOf(src, `dns "corp"`), []string{"a.test", "b.test"}, true, "rfc2136", map[string]fleet.Secret{
				"DNSUPDATE_NAMESERVER": fleet.NewSecret([]byte("ns.a.test")), "DNSUPDATE_TSIG_SECRET_FILE": fleet.NewSecret([]byte("/ts")),
			}, "/df", 0, []string{"[::1]:53"}},
			{Name: "all", At: lineOf(src, `dns "all"`), Domains: []string{"*"}, Provider: "exec", Propagation: 2 * time.Minute},
		},
		Notify: []Notify{
			{"hook", "https://hooks.test/x?y=z", "/hk", true, nil, []string{"certificate.parked", "node.problem"}},
			{Name: "exec", Command: []string{"/bin/x", "y"}},
		},
		Reload: Reload{MaxShare: fleet.Share{Nodes: 2}, SlotWait: time.Second},
		Leader: Leader{KeyringFile: "/leaders", TTL: 10 * time.Second},
		HTTP:   HTTP{Address: "[::]:9", CertFile: "/hc", KeyFile: "/hk", ClientCAFile: "/hca", TokenFile: "/ht"},
		Log:    Log{Level: "debug", Format: "json"},
	}
	got, err := Parse([]byte(src), "f.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Parse = %+v\nwant %+v", got, want)
	}
	if files := got.DNS[0].Files(); !slices.Equal(files, []string{"/df", "/ts"}) {
		t.Errorf("Files() = %q, want /df and /ts", files)
	}
	if token := string(got.Consul.Token.Reveal()); token != "t0k3n" {
		t.Errorf("Token.Reveal() = %q, want t0k3n", token)
	}
}

// lineOf is where a text is in the file f.hcl.
func lineOf(src, text string) string {
	before, _, _ := strings.Cut(src, text)
	return fmt.Sprintf("f.hcl:%d", strings.Count(before, "\n")+1)
}

func defaultCAOf(name, directory string) CA {
	ca := defaultCA(name)
	ca.Directory = directory
	return ca
}

func TestDefaults(t *testing.T) {
	d := Default()
	for name, tc := range map[string]struct{ got, want any }{
		"keyring_file":             {d.KeyringFile, "/etc/tlsfleet/keyring"},
		"state_dir":                {d.StateDir, "/var/lib/tlsfleet"},
		"run_dir":                  {d.RunDir, "/run/tlsfleet"},
		"allow_persistent_keys":    {d.AllowPersistentKeys, false},
		"consul.service_ttl":       {d.Consul.ServiceTTL, 30 * time.Second},
		"consul.tls_skip_verify":   {d.Consul.TLSSkipVerify, false},
		"nginx.binary":             {d.Nginx.Binary, "/usr/sbin/nginx"},
		"nginx.config_file":        {d.Nginx.ConfigFile, "/etc/nginx/nginx.conf"},
		"nginx.pid_file":           {d.Nginx.PIDFile, "/run/nginx.pid"},
		"nginx.release_address":    {d.Nginx.ReleaseAddress, "127.0.0.1:9181"},
		"nginx.verify_timeout":     {d.Nginx.VerifyTimeout, 30 * time.Second},
		"nginx.old_worker_limit":   {d.Nginx.OldWorkerLimit, 30 * time.Second},
		"nginx.reprove_every":      {d.Nginx.ReproveEvery, 60 * time.Second},
		"ticket.rotate_every":      {d.Ticket.RotateEvery, 12 * time.Hour},
		"ticket.session_timeout":   {d.Ticket.SessionTimeout, 2 * time.Hour},
		"ticket.apply_lag":         {d.Ticket.ApplyLag, 15 * time.Minute},
		"ticket.policy":            {d.Ticket.Policy, PolicyHold},
		"ticket.deadline":          {d.Ticket.Deadline, time.Hour},
		"ticket.accept_event_keys": {d.Ticket.AcceptEventKeys, false},
		"ticket.watch_events":      {d.Ticket.WatchEvents, true},
		"ticket.resume_every":      {d.Ticket.ResumeEvery, time.Minute},
		"ticket.stale_after":       {d.Ticket.StaleAfter, 72 * time.Hour},
		"reload.splay":             {d.Reload.Splay, 5 * time.Second},
		"reload.quiet":             {d.Reload.Quiet, 500 * time.Millisecond},
		"reload.max_quiet":         {d.Reload.MaxQuiet, 5 * time.Second},
		"reload.min_interval":      {d.Reload.MinInterval, 10 * time.Second},
		"reload.max_share":         {d.Reload.MaxShare, fleet.Share{Percent: 25}},
		"reload.slot_wait":         {d.Reload.SlotWait, 5 * time.Minute},
		"acme.http01":              {d.ACME.HTTP01, HTTP01Stateless},
		"acme.challenge_address":   {d.ACME.ChallengeAddress, "127.0.0.1:9182"},
		"acme.parallel":            {d.ACME.Parallel, 32},
		"acme.preflight":           {d.ACME.Preflight, true},
		"acme.http_port":           {d.ACME.HTTPPort, 80},
		"ca.order_limit":           {defaultCA("x").OrderLimit, Limit{300, 3 * time.Hour}},
		"ca.domain_limit":          {defaultCA("x").DomainLimit, Limit{50, 168 * time.Hour}},
		"ca.set_limit":             {defaultCA("x").SetLimit, Limit{5, 168 * time.Hour}},
		"ca.failure_limit":         {defaultCA("x").FailureLimit, Limit{5, time.Hour}},
		"acme.resolver":            {d.ACME.Resolver, ""},
		"leader.eligible":          {d.Leader.Eligible, true},
		"leader.ttl":               {d.Leader.TTL, 15 * time.Second},
		"log.level":                {d.Log.Level, "info"},
		"log.format":               {d.Log.Format, "text"},
	} {
		if tc.got != tc.want {
			t.Errorf("Default %s = %v, want %v", name, tc.got, tc.want)
		}
	}
}

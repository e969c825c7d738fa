package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/config"
)

// TestParseRefuses has one row for each way to get a file wrong. In want every
// line is one error, whole but for the file's name.
func TestParseRefuses(t *testing.T) {
	const ok = "fleet = \"edge\"\n"
	long := strings.Repeat("x", 64)
	tests := map[string]struct{ src, want string }{
		"empty file": {"", `1: fleet is missing; name the fleet`},
		"unknown attribute": {ok + `flet = "x"`,
			`2: unknown attribute "flet"; known are fleet, node,`},
		"certificates without listen": {ok + "certificates {\n mode = \"variable\"\n}",
			`3: certificates.mode "variable" needs certificates.listen; say where`},
		"on_demand without gateway": {ok + "certificates {\n mode = \"on_demand\"\n}",
			`3: certificates.mode "on_demand" needs certificates.gateway_socket; say where nginx asks for certificates: gateway_socket = "/run/tlsfleet/certificates.sock"`},
		"gateway on the agent's socket": {ok + "certificates {\n gateway_socket = \"/run/tlsfleet/agent.sock\"\n}",
			`3: certificates.gateway_socket is the agent's socket; give another path`},
		"domains on the agent's socket": {ok + "acme {\n domains_socket = \"/run/tlsfleet/agent.sock\"\n}",
			`3: acme.domains_socket is the agent's socket; give another path`},
		"domains on the gateway's socket": {ok + "acme {\n domains_socket = \"/g\"\n}\ncertificates {\n gateway_socket = \"/g\"\n}",
			`3: acme.domains_socket is certificates.gateway_socket; give another path`},
		"domains group without a socket": {ok + "acme {\n domains_group = \"blog\"\n}",
			`3: acme.domains_group needs acme.domains_socket; say where programs ask: domains_socket = "/run/tlsfleet/domains.sock"`},
		"notify with neither":     {ok + "notify \"a\" {\n}", `2: notify "a" needs a webhook or a command; give one`},
		"notify with both":        {ok + "notify \"a\" {\n webhook = \"https://x\"\n key_file = \"/k\"\n command = [\"/x\"]\n}", `2: notify "a" needs a webhook or a command; give one`},
		"notify without a key":    {ok + "notify \"a\" {\n webhook = \"https://x\"\n}", `2: notify "a": webhook and key_file need each other; give a file`},
		"notify, no URL":          {ok + "notify \"a\" {\n webhook = \"x\"\n}", `3: notify.a.webhook: it is not the URL of a webhook; write one`},
		"notify, relative":        {ok + "notify \"a\" {\n command = [\"x\"]\n}", `3: notify "a": "x" is no program; give it`},
		"notify, unknown kind":    {ok + "notify \"a\" {\n command = [\"/x\"]\n kinds = [\"all\"]\n}", `4: notify.a.kinds: "all" is no kind of event; use some of`},
		"notify without a name":   {ok + "notify {\n}", `2: a notify block needs one name; write notify "chat"`},
		"ca without a name":       {ok + "ca {\n directory = \"https://x\"\n}", `2: a ca block needs one name; write ca "letsencrypt"`},
		"ca with a bad name":      {ok + "ca \"a/b\" {\n directory = \"https://x\"\n}", `2: ca: `},
		"ca twice":                {ok + "ca \"a\" {\n directory = \"https://x\"\n}\nca \"a\" {\n}", `5: second block ca "a"; merge it into the one in line 2`},
		"ca without a directory":  {ok + "ca \"a\" {\n}", `2: ca "a" has no directory; give the URL`},
		"ca by plain HTTP":        {ok + "ca \"a\" {\n directory = \"http://x\"\n}", `3: ca.a.directory: "http://x" is not the URL of an ACME directory`},
		"ca with half a binding":  {ok + "ca \"a\" {\n directory = \"https://x\"\n eab_key_id = \"k\"\n}", `4: eab_key_id and eab_key_file need each other`},
		"ca with a bad limit":     {ok + "ca \"a\" {\n directory = \"https://x\"\n order_limit = \"0/1h\"\n}", `4: ca.a.order_limit: "0/1h" is not a limit; write how many`},
		"ca with an unknown word": {ok + "ca \"a\" {\n directory = \"https://x\"\n limit = 1\n}", `4: unknown attribute "ca.a.limit"; known are directory,`},
		"dns without a provider":  {ok + "dns \"a\" {\n domains = [\"a.test\"]\n}", `2: dns "a" has no provider; name one`},
		"dns without domains":     {ok + "dns \"a\" {\n provider = \"exec\"\n}", `2: dns "a" has no domains; say what`},
		"dns, no domain":          {ok + "dns \"a\" {\n provider = \"exec\"\n domains = [\"*.a.test\"]\n}", `4: dns.a.domains: "*.a.test" is no domain; write it`},
		"dns, domain of another":  {ok + "dns \"a\" {\n provider = \"exec\"\n domains = [\"*\"]\n}\ndns \"b\" {\n provider = \"exec\"\n domains = [\"*\"]\n}", `8: dns "b" is for *, and so is dns "a"; keep it`},
		"dns, no map":             {ok + "dns \"a\" {\n provider = \"exec\"\n domains = [\"*\"]\n settings = \"x\"\n}", `5: dns.a.settings: it is no map; write settings`},
		"dns, no setting":         {ok + "dns \"a\" {\n provider = \"exec\"\n domains = [\"*\"]\n settings = { \"a b\" = \"x\" }\n}", `5: dns.a.settings: "a b" is no name of a setting; use those`},
		"dns, no text":            {ok + "dns \"a\" {\n provider = \"exec\"\n domains = [\"*\"]\n settings = { EXEC_PATH = 1 }\n}", `5: dns.a.settings: EXEC_PATH: it is a number; give a text`},
		"dns, empty":              {ok + "dns \"a\" {\n provider = \"exec\"\n domains = [\"*\"]\n settings = { EXEC_PATH = \"\" }\n}", `5: dns.a.settings: EXEC_PATH is empty, or has white space`},
		"dns, no name server":     {ok + "dns \"a\" {\n provider = \"exec\"\n domains = [\"*\"]\n nameservers = [\"ns.a.test\"]\n}", `5: dns.a.nameservers: "ns.a.test" is no address with a port; write one`},
		"acme listen with TLS":    {ok + "acme {\n http_listen = [\"443 ssl\"]\n}", `3: acme.http_listen: "443 ssl" has TLS; HTTP-01`},
		"acme listen, no port":    {ok + "acme {\n http_listen = [\"localhost\"]\n}", `3: acme.http_listen: "localhost" has no port; write the parameters`},
		"acme contact":            {ok + "acme {\n contact = [\"ops@a.test\"]\n}", `3: acme.contact: "ops@a.test" is no contact; write one`},
		"staging is none":         {ok + "ca \"a\" {\n directory = \"https://a.test\"\n staging = \"https://a.test\"\n}", `4: staging is the directory itself; give the URL`},
		"acme http01":             {ok + "acme {\n http01 = \"nginx\"\n}", `3: acme.http01: "nginx"`},
		"acme challenge address":  {ok + "acme {\n challenge_address = \"10.0.0.1:1\"\n}", `3: acme.challenge_address: "10.0.0.1:1" is not a loopback address with a port; write one`},
		"acme resolver":           {ok + "acme {\n resolver = \"9.9.9.9\"\n}", `3: acme.resolver: "9.9.9.9" is no address with a port; write one`},
		"service_ttl below Consul's least": {ok + "consul {\n service_ttl = \"9s\"\n}",
			`3: consul.service_ttl: "9s" is out of range; give a duration from 10s to 24h`},
		"keyring out of Consul by anybody": {ok + "keyring {\n from = \"consul\"\n}",
			`3: keyring.from "consul" needs keyring.operator; write the key`},
		"operator's key is none": {ok + "keyring {\n operator = \"age1x\"\n}",
			`3: keyring.operator: not a usable identity`},
		"percent out of range": {ok + "certificates {\n max_loss_percent = 101\n}",
			`3: certificates.max_loss_percent: 101 is out of range; give a whole number from 0 to 100`},
		"percent not whole": {ok + "certificates {\n max_loss_percent = 1.5\n}",
			`3: certificates.max_loss_percent: 1.5 is out of range; give`},
		"unknown attribute in block": {ok + "log {\n colour = true\n}",
			`3: unknown attribute "log.colour"; known are level, format`},
		"attribute outside its block": {ok + `rotate_every = "1h"`,
			`2: unknown attribute "rotate_every"; move it into ticket { ... }`},
		"attribute inside a foreign block": {ok + "log {\n run_dir = \"/r\"\n}",
			`3: unknown attribute "log.run_dir"; move it out of the block`},
		"unknown block":   {ok + "tls {\n}", `2: unknown block "tls"; known are consul, nginx,`},
		"duplicate block": {ok + "log {\n}\nlog {\n}", `4: second block "log"; merge it into the one in line 2`},
		"block in block":  {ok + "log {\n leader {\n}\n}", `3: unknown block "leader" in log; close log before it`},
		"labelled block":  {ok + "log \"x\" {\n}", `2: block "log" has a label; write log { ... }`},
		"duplicate attribute": {ok + ok,
			`2: attribute redefined; The argument "fleet" was already set`},
		"attribute as block": {"fleet {\n}", `1: unknown block "fleet"; known` + "\n" + `1: fleet is missing`},
		"block as attribute": {ok + `log = "x"`, `2: unknown attribute "log"; known`},
		"syntax":             {"fleet = \n", `1: invalid expression; Expected the start of an expression`},
		"not text":           {"\xff\xfe\x00", `1: `},
		"variable":           {`fleet = edge`, `1: fleet: variables not allowed; Variables may not be used here`},
		"function":           {`fleet = upper("x")`, `1: fleet: function calls not allowed`},

		"number for text":     {`fleet = 1`, `1: fleet: it is a number; give a text in quotes`},
		"null":                {`fleet = null`, `1: fleet: it is null; give a text in quotes, or remove the line`},
		"text for bool":       {ok + `allow_persistent_keys = "true"`, `2: allow_persistent_keys: it is a string; give true or false`},
		"number for duration": {ok + "ticket {\n deadline = 3600\n}", `3: ticket.deadline: it is a number; give a duration in quotes`},
		"text for list":       {ok + "nginx {\n default_servers = \"443 ssl\"\n}", `3: nginx.default_servers: it is a string; give a list of texts`},
		"number in list":      {ok + "nginx {\n default_servers = [443]\n}", `3: nginx.default_servers: in the list, it is a number; give a list`},
		"number for word":     {ok + "log {\n level = 1\n}", `3: log.level: it is a number; give a text`},
		"number for token":    {ok + "consul {\n token = 1\n}", `3: consul.token: it is a number; give a text`},

		"empty fleet":      {`fleet = ""`, `1: fleet: it is empty; give a value, or remove the line`},
		"fleet with slash": {`fleet = "a/b"`, `1: fleet: not a usable name: "a/b" has '/' at 1`},
		"fleet dots":       {`fleet = ".."`, `1: fleet: not a usable name: ".." has '.' at 0`},
		"fleet too long":   {`fleet = "` + long + `"`, `1: fleet: not a usable name: "` + long + `" has 64 characters`},
		"bad node":         {ok + `node = "a b"`, `2: node: not a usable name: "a b" has ' ' at 1`},
		"bad group":        {ok + `socket_group = "a:b"`, `2: socket_group: not a usable name`},
		"bad datacenter":   {ok + "consul {\n datacenter = \"dc/1\"\n}", `3: consul.datacenter: not a usable name`},

		"address with port":   {ok + `address = "10.0.0.1:80"`, `2: address: "10.0.0.1:80" is not an address; give an IP address or a host name, without port`},
		"address unspecified": {ok + `address = "0.0.0.0"`, `2: address: "0.0.0.0" is no address of one host; give`},
		"address multicast":   {ok + `address = "224.0.0.1"`, `2: address: "224.0.0.1" is no address of one host; give`},
		"address dots":        {ok + `address = "a..b"`, `2: address: "a..b" is not an address; give`},

		"relative path":     {ok + `state_dir = "var/lib"`, `2: state_dir: "var/lib" is a relative path; give the path from /`},
		"unclean path":      {ok + `keyring_file = "/etc/../x"`, `2: keyring_file: "/etc/../x" is not in its shortest form; write "/x"`},
		"root":              {ok + `run_dir = "/"`, `2: run_dir: it is the root of the file system; name a file or folder`},
		"control character": {ok + `keyring_file = "/a\nb"`, `2: keyring_file: "/a\nb" has a control character; remove it`},
		"path with space":   {ok + `state_dir = "/a b"`, `2: state_dir: "/a b" has a character that nginx would read as more than a path; keep to letters`},
		"path with dollar":  {ok + `run_dir = "/a$b"`, `2: run_dir: "/a$b" has a character that nginx`},
		"long socket":       {ok + `socket = "/` + long + long + `"`, `2: socket: "/` + long + long + `" has 129 bytes; a unix socket can have 107`},
		"long run_dir":      {ok + `run_dir = "/` + long + long + `"`, `2: the agent's socket in run_dir: "/` + long + long + `/agent.sock" has 140 bytes; shorten`},
		"run in state":      {ok + `run_dir = "/var/lib/tlsfleet/run"`, `2: run_dir "/var/lib/tlsfleet/run" and state_dir "/var/lib/tlsfleet" are not apart; choose`},
		"state in run":      {ok + `state_dir = "/run/tlsfleet/s"`, `2: run_dir "/run/tlsfleet" and state_dir "/run/tlsfleet/s" are not apart; choose`},
		"same folder":       {ok + `state_dir = "/run/tlsfleet"`, `2: run_dir "/run/tlsfleet" and state_dir "/run/tlsfleet" are not apart; choose`},
		"relative pid file": {ok + "nginx {\n pid_file = \"nginx.pid\"\n}", `3: nginx.pid_file: "nginx.pid" is a relative path`},

		"consul without port":   {ok + "consul {\n address = \"10.0.0.1\"\n}", `3: consul.address: "10.0.0.1" is not an address of Consul; write "host:port"`},
		"consul bad scheme":     {ok + "consul {\n address = \"ftp://a:1\"\n}", `3: consul.address: "ftp://a:1" is not an address of Consul`},
		"consul with user":      {ok + "consul {\n address = \"http://u@h:1\"\n}", `3: consul.address: "http://u@h:1" is not an address of Consul`},
		"consul port 0":         {ok + "consul {\n address = \"h:0\"\n}", `3: consul.address: "h:0" is not an address of Consul`},
		"consul unix relative":  {ok + "consul {\n address = \"unix://x\"\n}", `3: consul.address: "x" is a relative path`},
		"scheme":                {ok + "consul {\n scheme = \"tcp\"\n}", `3: consul.scheme: "tcp" is not known; use one of "http", "https"`},
		"two schemes":           {ok + "consul {\n address = \"https://h:1\"\n scheme = \"http\"\n}", `4: consul.scheme "http" is not that of consul.address "https://h:1"; remove scheme`},
		"two tokens":            {ok + "consul {\n token = \"x\"\n token_file = \"/t\"\n}", `3: consul.token and consul.token_file are both given; keep token_file`},
		"token with space":      {ok + "consul {\n token = \"x \"\n}", `3: consul.token: it begins or ends with white space; remove`},
		"certificate alone":     {ok + "consul {\n cert_file = \"/c\"\n}", `3: consul.cert_file and consul.key_file need each other; give both or none`},
		"key alone":             {ok + "consul {\n key_file = \"/c\"\n}", `3: consul.cert_file and consul.key_file need each other; give both or none`},
		"server name with port": {ok + "consul {\n server_name = \"h:1\"\n}", `3: consul.server_name: "h:1" is not an address`},

		"release not loopback":         {ok + "nginx {\n release_address = \"10.0.0.1:1\"\n}", `3: nginx.release_address: "10.0.0.1:1" is not a loopback address with a port; write one`},
		"release without port":         {ok + "nginx {\n release_address = \"127.0.0.1\"\n}", `3: nginx.release_address: "127.0.0.1" is not a loopback address`},
		"release port 0":               {ok + "nginx {\n release_address = \"127.0.0.1:0\"\n}", `3: nginx.release_address: "127.0.0.1:0" is not a loopback address`},
		"listen injection":             {ok + "nginx {\n default_servers = [\"443 ssl; x\"]\n}", `3: nginx.default_servers: "443 ssl; x" is no listen socket; write`},
		"listen without ssl":           {ok + "nginx {\n default_servers = [\"443\"]\n}", `3: nginx.default_servers: "443" is without ssl; write`},
		"listen without port":          {ok + "nginx {\n default_servers = [\"ssl\"]\n}", `3: nginx.default_servers: "ssl" has no port; write`},
		"listen port too large":        {ok + "nginx {\n default_servers = [\"65536 ssl\"]\n}", `3: nginx.default_servers: "65536 ssl" has no port; write`},
		"listen default_server":        {ok + "nginx {\n default_servers = [\"443 ssl default_server\"]\n}", `3: nginx.default_servers: "443 ssl default_server" says default_server; leave it out`},
		"listen twice":                 {ok + "nginx {\n default_servers = [\"443 ssl\", \"443 ssl\"]\n}", `3: nginx.default_servers: "443 ssl" is there twice; remove one`},
		"listen empty":                 {ok + "nginx {\n default_servers = [\"\"]\n}", `3: nginx.default_servers: "" is no listen socket; write`},
		"policy":                       {ok + "ticket {\n policy = \"maybe\"\n}", `3: ticket.policy: "maybe" is not known; use one of "hold", "proceed"`},
		"level":                        {ok + "log {\n level = \"INFO\"\n}", `3: log.level: "INFO" is not known; use one of "trace", "debug", "info", "warn", "error"`},
		"format":                       {ok + "log {\n format = \"xml\"\n}", `3: log.format: "xml" is not known; use one of "text", "json"`},
		"unparsable duration":          {ok + "ticket {\n deadline = \"1 day\"\n}", `3: ticket.deadline: "1 day" is not a duration; use the units h, m, s and ms`},
		"duration without unit":        {ok + "ticket {\n deadline = \"60\"\n}", `3: ticket.deadline: "60" is not a duration`},
		"never where it is not":        {ok + "ticket {\n deadline = \"never\"\n}", `3: ticket.deadline: "never" is not a duration`},
		"splay too long":               {ok + "reload {\n splay = \"2h\"\n}", `3: reload.splay: "2h" is out of range; give a duration from 0s to 1h`},
		"negative splay":               {ok + "reload {\n splay = \"-1s\"\n}", `3: reload.splay: "-1s" is out of range; give a duration from 0s to 1h`},
		"http name":                    {ok + "http {\n address = \"localhost:9180\"\n}", `3: http.address: "localhost:9180" is no IP address with a port; write one`},
		"http open to all":             {ok + "http {\n address = \"0.0.0.0:9180\"\n}", `3: http.address "0.0.0.0:9180" is not loopback; give cert_file`},
		"http token without TLS":       {ok + "http {\n address = \"10.0.0.1:9180\"\n token_file = \"/t\"\n}", `3: http.address "10.0.0.1:9180" is not loopback; give cert_file`},
		"http TLS without token":       {ok + "http {\n address = \"10.0.0.1:9180\"\n cert_file = \"/c\"\n key_file = \"/k\"\n}", `3: http.address "10.0.0.1:9180" is not loopback; give cert_file`},
		"http key alone":               {ok + "http {\n key_file = \"/k\"\n}", `3: http.cert_file and http.key_file need each other; give both or none`},
		"http client CA without TLS":   {ok + "http {\n client_ca_file = \"/k\"\n}", `3: http.client_ca_file needs TLS; give cert_file`},
		"max_quiet below quiet":        {ok + "reload {\n quiet = \"2s\"\n max_quiet = \"1s\"\n}", `4: reload.max_quiet 1s is shorter than reload.quiet 2s; raise`},
		"profile names are no map":     {ok + "ca \"x\" {\n directory = \"https://a.test\"\n profile_names = 25\n}", `4: ca.x.profile_names: it is no map; give a map such as { tlsserver = 100 }`},
		"profile of no name":           {ok + "ca \"x\" {\n directory = \"https://a.test\"\n profile_names = { a = 0 }\n}", `4: ca.x.profile_names: a: 0 is out of range; give a whole number from 1 to 100, without quotes`},
		"profile of text":              {ok + "ca \"x\" {\n directory = \"https://a.test\"\n profile_names = { a = \"25\" }\n}", `4: ca.x.profile_names: a: it is a string; give a whole number`},
		"profile with a space":         {ok + "ca \"x\" {\n directory = \"https://a.test\"\n profile_names = { \"a b\" = 25 }\n}", `4: ca.x.profile_names: "a b" has characters that cannot stand there, or too many; keep`},
		"share above the whole":        {ok + "reload {\n max_share = \"101%\"\n}", `3: reload.max_share: "101%" is neither a percentage from 1% to 100% nor a number of nodes; give a percentage such as "25%"`},
		"share without quotes":         {ok + "reload {\n max_share = 2\n}", `3: reload.max_share: it is a number; give a percentage such as "25%" or a number of nodes such as "2", in quotes`},
		"ttl below Consul's":           {ok + "leader {\n ttl = \"9s\"\n}", `3: leader.ttl: "9s" is out of range; give a duration from 10s to 24h`},
		"ttl above Consul's":           {ok + "leader {\n ttl = \"25h\"\n}", `3: leader.ttl: "25h" is out of range; give a duration from 10s to 24h`},
		"session above RFC 8446":       {ok + "ticket {\n session_timeout = \"169h\"\n}", `3: ticket.session_timeout: "169h" is out of range; give a duration from 1s to 168h`},
		"stale_after unparsable":       {ok + "ticket {\n stale_after = \"off\"\n}", `3: ticket.stale_after: "off" is not a duration; use the units h, m, s and ms, such as "1h30m", or "never"`},
		"more keys than the ring":      {ok + "ticket {\n session_timeout = \"2h\"\n apply_lag = \"15m\"\n rotate_every = \"4m\"\n}", `3: ticket.session_timeout 2h with apply_lag 15m needs 35 previous keys at rotate_every 4m, a ring holds 30; lower session_timeout, or raise rotate_every to 4m40s`},
		"too large":                    {strings.Repeat("#\n", 40<<10), `1: the file is larger than 64 KiB; give the path`},
		"errors in the order of lines": {"\nx = 1", "1: fleet is missing\n" + `2: unknown attribute "x"`},
		"one error for one wrong value": {ok + "reload {\n quiet = \"10s\"\n max_quiet = \"x\"\n}",
			`4: reload.max_quiet: "x" is not a duration`},
		"several": {"fleet = 1\nx = 2\nlog {\n level = 3\n}\ny {\n}",
			"1: fleet: it is a number\n" + "2: unknown attribute \"x\"\n" + "4: log.level: it is a number\n" + "6: unknown block \"y\""},
	}
	zero := []string{"ticket.rotate_every", "ticket.deadline", "ticket.session_timeout", "ticket.stale_after", "nginx.verify_timeout",
		"nginx.old_worker_limit", "nginx.reprove_every", "consul.service_ttl", "leader.ttl"}
	for _, full := range zero {
		block, name, _ := strings.Cut(full, ".")
		for _, v := range []string{"0s", "-1h"} {
			tests[full+" "+v] = struct{ src, want string }{ok + block + " {\n " + name + " = \"" + v + "\"\n}",
				`3: ` + full + `: "` + v + `" is out of range; give a duration from 1`}
		}
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse([]byte(tc.src), "f.hcl")
			if err == nil {
				t.Fatalf("Parse(%q) = nil, want %s", tc.src, tc.want)
			}
			got, want := strings.Split(err.Error(), "\n"), strings.Split(tc.want, "\n")
			if name != "not text" && len(got) != len(want) {
				t.Fatalf("Parse(%q) has %d errors, want %d:\n%v", tc.src, len(got), len(want), err)
			}
			for i, w := range want {
				if !strings.HasPrefix(got[i], "f.hcl:"+w) {
					t.Errorf("Parse error %d = %s, want f.hcl:%s...", i, got[i], w)
				}
				if !strings.Contains(got[i], "; ") {
					t.Errorf("Parse error %d = %s, want a hint", i, got[i])
				}
			}
		})
	}
}

func TestParseHintForRingRoomIsEnough(t *testing.T) {
	src := "fleet = \"e\"\nticket {\n session_timeout = \"2h\"\n apply_lag = \"15m\"\n rotate_every = \"4m40s\"\n}\n"
	if _, err := config.Parse([]byte(src), "f"); err != nil {
		t.Errorf("Parse with the rotate_every of the hint = %v, want nil", err)
	}
	src = strings.Replace(src, "4m40s", "4m39s", 1)
	if _, err := config.Parse([]byte(src), "f"); err == nil {
		t.Error("Parse with a second less = nil, want an error")
	}
}

func TestParseNeverShowsToken(t *testing.T) {
	const token = "b1gs3cr3t"
	for name, src := range map[string]string{
		"quoted":    `token = "` + token + `"`,
		"space":     `token = " ` + token + `"`,
		"unquoted":  `token = ` + token,
		"open":      `token = "` + token,
		"list":      `token = ["` + token + `"]`,
		"misspelt":  `tokn = "` + token + `"`,
		"sum":       `token = "` + token + `" + 1`,
		"call":      `token = f("` + token + `")`,
		"escape":    `token = "` + token + `\q"`,
		"condition": `token = "` + token + `" ? 1 : 2`,
		"splice":    `token = "${` + token + `}"`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse([]byte("flet = 1\nconsul {\n"+src+"\n}"), "f")
			if err == nil || strings.Contains(err.Error(), token) {
				t.Errorf("Parse error = %v, want one without the token", err)
			}
		})
	}
}

func TestParseErrorsCanBeTakenApart(t *testing.T) {
	_, err := config.Parse([]byte("\n\nfleet = 1\n"), "f.hcl")
	var one *config.Error
	if !errors.As(err, &one) || one.File != "f.hcl" || one.Line != 3 {
		t.Errorf("Parse error = %#v, want *Error for f.hcl line 3", err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tlsfleet.hcl")
	if _, err := config.Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load(missing) = %v, want os.ErrNotExist", err)
	}
	if err := os.WriteFile(path, []byte(`fleet = 1`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err == nil || !strings.HasPrefix(err.Error(), path+":1: fleet: ") {
		t.Errorf("Load = %v, want an error that begins with %s:1", err, path)
	}
	if err := os.WriteFile(path, []byte(`fleet = "edge"`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil || cfg.Fleet != "edge" {
		t.Errorf("Load = %v, %v, want fleet edge", cfg.Fleet, err)
	}
	if _, err := config.Load(dir); err == nil {
		t.Error("Load(folder) = nil, want an error")
	}
}

func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../packaging/tlsfleet.hcl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("fleet = \"a\"\nconsul {\n address = \"unix:///x\"\n}\nnginx {\n default_servers = [\"[::]:443 ssl\"]\n}"))
	f.Add([]byte("fleet = ((((((1))))))"))
	f.Add([]byte("fleet = [for x in [1,2]: x]\nticket {\n stale_after = \"never\"\n}"))
	f.Fuzz(func(t *testing.T, src []byte) {
		cfg, err := config.Parse(src, "f.hcl")
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\nf.hcl:") {
				if !strings.Contains(line, "; ") {
					t.Errorf("Parse(%q) error %q has no hint", src, line)
				}
			}
			return
		}
		for _, p := range []string{cfg.KeyringFile, cfg.StateDir, cfg.RunDir, cfg.Socket, cfg.Nginx.Binary, cfg.Nginx.PIDFile} {
			if !filepath.IsAbs(p) || filepath.Clean(p) != p {
				t.Errorf("Parse(%q) accepts path %q", src, p)
			}
		}
		if cfg.Fleet == "" || cfg.Node == "" || cfg.Ticket.RotateEvery <= 0 || cfg.Leader.TTL <= 0 {
			t.Errorf("Parse(%q) = %+v, want all that is needed", src, cfg)
		}
	})
}

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/doctor"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// examine runs `tlsfleet doctor` on the node and returns its findings by check.
// Exit code 1 has to mean a failure, and nothing else.
func (n *Node) examine(t *testing.T) map[string]doctor.Finding {
	t.Helper()
	return findings(t, n.CLI(t, "doctor", "--format", "json"))
}

func findings(t *testing.T, r Result) map[string]doctor.Finding {
	t.Helper()
	var list []doctor.Finding
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
		t.Fatalf("read findings: %v: %s", err, r)
	}
	if failed := doctor.Count(list, doctor.Failure) > 0; failed != (r.Code == 1) || r.Code > 1 {
		t.Errorf("exit code = %d, want 1 for a failure and 0 for none: %s", r.Code, r)
	}
	found := map[string]doctor.Finding{}
	for _, f := range list {
		if _, twice := found[f.ID]; twice {
			t.Errorf("check %s has two findings", f.ID)
		}
		if f.Level != doctor.OK && f.Level != doctor.Skipped && f.Mend == "" {
			t.Errorf("%s: %s %q says nothing of what to do", f.ID, f.Level, f.Text)
		}
		found[f.ID] = f
	}
	return found
}

// TestDoctorFindsWhatIsPlanted breaks one thing after the other on a sound node
// with a guarded Consul. Each has to be found, and be gone when it is mended.
func TestDoctorFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	g := newClosed(t, 2)
	o := FleetOptions{Name: testkit.FleetName(t), Nodes: 2, Consul: g.server}
	o.Nginx = func(_ int, o *testkit.NginxOptions) { o.Main = "worker_shutdown_timeout 10s;" }
	roles := []string{"leader", "agent"}
	o.Node = func(i int) Settings {
		tls := g.members[i].TLS
		return Settings{
			"consul.address": g.members[i].URL(), "consul.token_file": g.token(t, roles[i], o.Name, g.members[i].Node),
			"consul.ca_file": tls.CA, "consul.cert_file": tls.Cert, "consul.key_file": tls.Key, "leader.eligible": i == 0,
		}
	}
	f := newCertFleet(t, o)
	ca := newCA(t)
	epoch := f.Import(t, ca.Issue(t, 90, "long.test"))
	n := f.Nodes[0]
	n.AwaitFollowed(t, epoch, 1)
	plain := testkit.Consul(t, testkit.ConsulDev())
	late := testkit.FaultProxy(t, plain.Addr)
	late.Set(testkit.Rule{Path: "/v1/agent/self", Fault: func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		answer := httptest.NewRecorder()
		pass.ServeHTTP(answer, r)
		w.Header().Set("Date", time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat))
		if _, err := w.Write(answer.Body.Bytes()); err != nil {
			t.Error(err)
		}
	}})
	other := func(address string) Settings {
		return Settings{"consul.address": address, "consul.ca_file": "", "consul.cert_file": "", "consul.key_file": "", "consul.token_file": ""}
	}
	free := strconv.Itoa(testkit.FreePort(t, n.Nginx.Address))
	cert := fmt.Sprintf("ssl_certificate %[1]s/cert.pem; ssl_certificate_key %[1]s/key.pem;", n.Nginx.Dir)
	keyFile := filepath.Join(n.Nginx.Dir, "one.key")
	if err := os.WriteFile(keyFile, []byte(strings.Repeat("0123456789abcdef", 5)), 0o600); err != nil {
		t.Fatal(err)
	}
	management := filepath.Join(f.Dir, "management")
	if err := os.WriteFile(management, []byte(g.server.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	ledger := fmt.Sprintf(`{"quarantine":{"bad.test":{"bundle":%q,"at":"2026-01-01T00:00:00Z","why":"planted"}}}`, strings.Repeat("ab", 32))
	const failure, warning, skipped = doctor.Failure, doctor.Warning, doctor.Skipped
	tests := map[string]struct {
		plant func() (mend func())
		check string
		level doctor.Level
		says  string
	}{
		"configuration with a mistake": {func() func() { return n.with(t, Settings{"certificates.mode": "sideways"}) }, "config", failure, "sideways"},
		"token in an open file": {func() func() {
			mend := n.with(t, Settings{"consul.token": g.server.Token, "consul.token_file": ""})
			chmod(t, n.Config, 0o644)
			return mend
		}, "config", failure, "others may read it"},
		"keyring open to others":  {func() func() { return f.mode(t, f.keyring, 0o644) }, "keyring", failure, "0644"},
		"keyring of another user": {func() func() { return f.chown(t, f.keyring, 65534) }, "keyring", warning, "65534"},
		"keyring away":            {func() func() { return f.away(t, f.keyring) }, "keyring", failure, "is not there"},
		"without keyring":         {func() func() { return f.away(t, f.keyring) }, "expiry", skipped, "keyring"},
		"consul away":             {func() func() { return n.with(t, other("127.0.0.1:1")) }, "consul", failure, "127.0.0.1:1"},
		"consul's CA unknown":     {func() func() { return n.with(t, Settings{"consul.ca_file": filepath.Join(n.Nginx.Dir, "cert.pem")}) }, "consul", failure, "certificate"},
		"nodes, with consul away": {func() func() { return n.with(t, other("127.0.0.1:1")) }, "nodes", skipped, "no answer"},
		"management token":        {func() func() { return n.with(t, Settings{"consul.token_file": management}) }, "consul-acl", warning, "acl write"},
		"token of a follower": {func() func() {
			return n.with(t, Settings{"consul.token_file": filepath.Join(g.dir, "agentnode2.token"), "node": "node2"})
		}, "consul-rights", failure, "leader"},
		"no access control":     {func() func() { return n.with(t, other(plain.Addr)) }, "consul-acl", warning, "off"},
		"gossip in clear":       {func() func() { return n.with(t, other(plain.Addr)) }, "consul-gossip", warning, "not encrypted"},
		"clock of consul apart": {func() func() { return n.with(t, other(late.Addr)) }, "clock", warning, "apart"},
		"no nginx":              {func() func() { return n.with(t, Settings{"nginx.binary": "/nowhere/nginx"}) }, "nginx", failure, "/nowhere/nginx"},
		"include away":          {func() func() { return n.nginxWith(t, "include "+n.StateDir, "#") }, "nginx-include", failure, "does not read"},
		"nginx -t refuses":      {func() func() { return n.nginxWith(t, "http {", "bogus on;\nhttp {") }, "nginx-test", failure, "bogus"},
		"pid of another":        {func() func() { return n.file(t, n.Nginx.PIDFile, strconv.Itoa(os.Getpid())) }, "nginx-process", failure, "not an nginx master"},
		"no nginx runs":         {func() func() { return f.away(t, n.Nginx.PIDFile) }, "nginx-process", warning, "does not run"},
		"default server with a certificate": {func() func() {
			return n.nginxWith(t, "http {", "http { server { listen "+free+" ssl; server_name x.test; "+cert+" }")
		}, "nginx-default-servers", warning, free},
		"ticket key hides the ring": {func() func() {
			return n.nginxWith(t, "http {", "http { server { listen "+free+" ssl; ssl_session_ticket_key "+keyFile+"; "+cert+" }")
		}, "nginx-ticket-keys", failure, "hides"},
		"ticket key in another server": {func() func() {
			return n.nginxWith(t, "server_name "+serverName+";", "server_name "+serverName+"; ssl_session_ticket_key "+keyFile+";")
		}, "nginx-ticket-keys", warning, "not the default"},
		"name twice": {func() func() {
			return n.nginxWith(t, "http {", "http { server { listen "+n.Nginx.TLSAddrs[0]+" ssl; server_name "+serverName+"; "+cert+" }")
		}, "nginx-names", warning, serverName},
		"name of the client in a path": {func() func() {
			return n.nginxWith(t, "http {", "http { server { listen "+free+" ssl; server_name x.test; ssl_certificate /c/$ssl_server_name/c.pem; ssl_certificate_key /c/${ssl_server_name}/k.pem; }")
		}, "nginx-paths", failure, "$ssl_server_name"},
		"no TLS 1.3":                  {func() func() { return n.nginxWith(t, "ssl_protocols TLSv1.2 TLSv1.3;", "ssl_protocols TLSv1.2;") }, "nginx-protocols", warning, "TLSv1.2"},
		"old workers live on":         {func() func() { return n.nginxWith(t, "worker_shutdown_timeout 10s;", "") }, "nginx-old-workers", warning, "as long as a client stays"},
		"state folder open":           {func() func() { return f.mode(t, n.StateDir, 0o757) }, "folders", failure, "0757"},
		"folder of another user":      {func() func() { return f.chown(t, n.StateDir, 65534) }, "folders", failure, "65534"},
		"key of the operator's open":  {func() func() { return f.mode(t, filepath.Join(n.Nginx.Dir, "key.pem"), 0o644) }, "private-keys", failure, "key.pem"},
		"token file open":             {func() func() { return f.mode(t, filepath.Join(g.dir, "leadernode1.token"), 0o644) }, "private-keys", failure, ".token"},
		"run_dir on a disk":           {func() func() { return n.with(t, Settings{"run_dir": t.TempDir()}) }, "run-dir", failure, "tmpfs"},
		"run_dir on a disk, accepted": {func() func() { return n.with(t, Settings{"run_dir": t.TempDir(), "allow_persistent_keys": true}) }, "run-dir", warning, "disk"},
		"no agent":                    {func() func() { return n.with(t, Settings{"socket": filepath.Join(n.RunDir, "none.sock")}) }, "agent", warning, "none.sock"},
		"quarantine":                  {func() func() { return n.file(t, filepath.Join(n.StateDir, "certificates.json"), ledger) }, "quarantine", warning, "bad.test"},
		"no ring yet":                 {func() func() { return n.with(t, Settings{"state_dir": filepath.Join(n.RunDir, "state")}) }, "config", failure, "apart"},
		"no ring on this node":        {func() func() { return n.with(t, Settings{"state_dir": t.TempDir()}) }, "ring", warning, "no ring"},
		"another node is silent": {func() func() {
			f.Nodes[1].Agent.Stop(t)
			f.Await(t, "the end of its report", func(s Status) error {
				if x := findNode(s, "node2"); x == nil || x.Report != nil {
					return fmt.Errorf("there is one")
				}
				return nil
			})
			return func() { f.Nodes[1].StartAgent(t); f.AwaitProved(t, 1) }
		}, "reports", warning, "node2"},
		"domain parked": {func() func() { return f.park(t, "parked.test") }, "domains", warning, "parked.test"},
		"certificate ends soon": {func() func() {
			e := f.Import(t, ca.Issue(t, 5, "soon.test"))
			n.AwaitFollowed(t, e, 2)
			return func() {
				f.CLI(t, "cert", "remove", "--yes", "soon.test").Want(t, 0)
				n.AwaitFollowed(t, e+1, 1)
			}
		}, "expiry", warning, "soon.test"},
	}
	sound := n.examine(t)
	for _, tt := range tests {
		// This Debian's nginx is too old for one promise, and containers do not keep the time.
		if got := sound[tt.check].Level; got != doctor.OK && tt.check != "nginx" && tt.check != "clock" {
			t.Errorf("on a sound node %s = %+v, want ok", tt.check, sound[tt.check])
		}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			mend := tt.plant()
			got := n.examine(t)[tt.check]
			mend()
			if got.Level != tt.level || !strings.Contains(got.Text, tt.says) {
				t.Errorf("%s = %+v, want %s with %q", tt.check, got, tt.level, tt.says)
			}
		})
	}
	// The agent has seen some of it too, and looks again in its time.
	testkit.Eventually(t, settle, "a sound node when all is mended", func() error {
		for id, f := range n.examine(t) {
			if f.Level != sound[id].Level {
				return fmt.Errorf("%s = %+v, want %s as before", id, f, sound[id].Level)
			}
		}
		return nil
	})
	t.Run("as another user", func(t *testing.T) { examineAsNobody(t, n) })
	r := n.CLI(t, "doctor")
	if !strings.Contains(r.Stdout, "What to do:") || !strings.Contains(r.Stdout, "nginx-include") {
		t.Errorf("the table lacks something: %s", r)
	}
}

// examineAsNobody runs the doctor without root: what it cannot see is skipped,
// not passed.
func examineAsNobody(t *testing.T, n *Node) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	dir, err := os.MkdirTemp("", "tlsfleet-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	chmod(t, dir, 0o755)
	text, err := os.ReadFile(n.Config)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "c.hcl"), text, 0o644)
	}
	var program []byte
	if err == nil {
		program, err = os.ReadFile(binary(t))
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "tlsfleet"), program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := findings(t, runAs(t, 65534, filepath.Join(dir, "tlsfleet"), "doctor", "--format", "json", "--config", filepath.Join(dir, "c.hcl")))
	for _, id := range []string{"keyring", "consul", "folders", "private-keys", "nginx-test", "expiry"} {
		if got[id].Level != doctor.Skipped {
			t.Errorf("%s = %+v, want it skipped: nobody may not see it", id, got[id])
		}
	}
}

// park journals a name as one that no CA is asked for.
func (f *Fleet) park(t *testing.T, name string) (mend func()) {
	t.Helper()
	return f.parkFor(t, name, "planted")
}

func (f *Fleet) parkFor(t *testing.T, name, detail string) (mend func()) {
	t.Helper()
	tls := f.Consul.TLS
	s, err := store.Open(store.Config{
		Fleet: f.Name, Address: f.Consul.URL(), Token: f.Consul.Token, CAFile: tls.CA, CertFile: tls.Cert, KeyFile: tls.Key,
	}, f.loadKeyring(t))
	if err != nil {
		t.Fatal(err)
	}
	it, err := issuance.New([]string{name}, "", "", time.Now().UTC())
	if err != nil {
		t.Fatal(err)
	}
	it.State, it.Next = issuance.Parked, it.Added.Add(time.Hour)
	it.Failed = issuance.Failures{Count: 1, Last: &issuance.Failure{Class: issuance.Hopeless, Stage: issuance.StagePreflight, Detail: detail, At: it.Added}}
	if err := s.PutItems(t.Context(), []issuance.Item{it}, ""); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := s.DropItems(t.Context(), []string{it.ID()}, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// with changes the node's configuration file under a command, while its agent
// keeps what it has: it reads the file from elsewhere.
func (n *Node) with(t *testing.T, s Settings) (mend func()) {
	t.Helper()
	was := n.Config
	n.Config = filepath.Join(t.TempDir(), "doctor.hcl")
	all := with(n.Settings, s)
	for name, v := range s {
		if v == "" {
			delete(all, name)
		}
	}
	writeConfig(t, n.Config, all)
	return func() { n.Config = was }
}

// nginxWith changes nginx's configuration file, without a reload.
func (n *Node) nginxWith(t *testing.T, old, text string) (mend func()) {
	t.Helper()
	was, err := os.ReadFile(n.Nginx.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(was), old) {
		t.Fatalf("no %q in %s", old, was)
	}
	return n.file(t, n.Nginx.ConfigFile, strings.Replace(string(was), old, text, 1))
}

// file puts a text into a file until it is mended.
func (n *Node) file(t *testing.T, path, text string) (mend func()) {
	t.Helper()
	was, err := os.ReadFile(path)
	absent := os.IsNotExist(err)
	if err == nil || absent {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		err := os.Remove(path)
		if !absent {
			err = os.WriteFile(path, was, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (f *Fleet) mode(t *testing.T, path string, mode os.FileMode) (mend func()) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	chmod(t, path, mode)
	return func() { chmod(t, path, info.Mode().Perm()) }
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func (f *Fleet) chown(t *testing.T, path string, uid int) (mend func()) {
	t.Helper()
	if err := os.Chown(path, uid, -1); err != nil {
		t.Skipf("only root can give files away: %v", err)
	}
	return func() {
		if err := os.Chown(path, os.Geteuid(), -1); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *Fleet) away(t *testing.T, path string) (mend func()) {
	t.Helper()
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(path, path+".away")
	return func() { move(path+".away", path) }
}

// runAs is runToEnd as another user.
func runAs(t *testing.T, uid uint32, argv ...string) Result {
	t.Helper()
	return runWith(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}, []string{"GORACE=atexit_sleep_ms=10"}, "", argv...)
}

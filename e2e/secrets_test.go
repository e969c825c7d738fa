package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func randomBytes(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// vault is a fleet with every kind of secret.
type vault struct {
	*acmeFleet
	secrets *Secrets
	addrs   map[int]string
	token   string // of its HTTP addresses
	leaders string // keyring file
	archive string // folder
	copies  copyPlaces
	bind    *testkit.BindServer // for the names below example.org
	temp    *created
}

// newVault makes the fleet, and tells the search what is secret. The fleet and its
// archive are named so that a search for mark has to find it wherever they are named.
func newVault(t *testing.T, mark string) *vault {
	t.Helper()
	dir := t.TempDir()
	keep := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	v := &vault{addrs: map[int]string{}, token: rand.Text(), leaders: filepath.Join(dir, "leaders"), archive: filepath.Join(dir, "archive"), copies: newCopyPlaces(t)}
	v.bind = testkit.Bind(t, testkit.BindOptions{Zones: []string{"example.org"}})
	runToEnd(t, nil, "", binary(t), "keyring", "init", "--leader", "--file", v.leaders).Want(t, 0)
	consulToken, hookKey, mac := "5e3c1d2b-0f7a-4b68-9c55-"+hex.EncodeToString(randomBytes(t, 6)), rand.Text(), randomBytes(t, 32)
	eab := base64.RawURLEncoding.EncodeToString(mac)
	hook, told := receiver(t)
	v.acmeFleet = newACMEFleetOn(t, FleetOptions{Name: "f" + mark, Nodes: 2, Node: withHTTP(t, v.addrs), Settings: with(v.copies.settings, Settings{
		"keyring.operator_key_file": filepath.Join(dir, "operator.key"),
		"log.level":                 "trace", "consul.token_file": keep("consul", consulToken), "http.token_file": keep("http", v.token),
		"leader.keyring_file": v.leaders, `archive "` + mark + `".directory`: v.archive, "ticket.accept_event_keys": true,
		`notify "hook".webhook`: hook, `notify "hook".key_file`: keep("hook", hookKey), `notify "hook".allow_private`: true,
		`ca "pebble".eab_key_id`: "kid", `ca "pebble".eab_key_file`: keep("eab", eab), "ticket.resume_every": "1s",
		`dns "bind".provider`: "rfc2136", `dns "bind".domains`: []string{"example.org"}, `dns "bind".nameservers`: []string{v.bind.Addr},
		`dns "bind".settings`: map[string]string{
			"DNSUPDATE_NAMESERVER": v.bind.Addr, "DNSUPDATE_TSIG_ALGORITHM": "hmac-sha256.", "DNSUPDATE_TSIG_KEY": v.bind.KeyName,
			"DNSUPDATE_TSIG_SECRET_FILE": keep("tsig", v.bind.Secret),
		},
	})}, testkit.PebbleOptions{EABKeys: map[string]string{"kid": eab}})
	v.temp = watchCreated(t, v.tempDir())
	v.secrets = v.WatchSecrets(t)
	v.secrets.AddKeyring(t, v.leaders)
	for what, secret := range map[string]string{
		"Consul token": consulToken, "dashboard token": v.token, "webhook key": hookKey, "EAB key as text": eab,
		"S3 access key": v.copies.bucket.Access, "S3 secret key": v.copies.bucket.Secret, "password of the database": v.copies.database.Password,
		"key of DNS updates as text": v.bind.Secret,
	} {
		v.secrets.Add(what, []byte(secret))
	}
	v.secrets.Add("EAB key", mac)
	tsig, err := base64.StdEncoding.DecodeString(v.bind.Secret)
	if err != nil {
		t.Fatal(err)
	}
	v.secrets.Add("key of DNS updates", tsig)
	t.Cleanup(func() {
		if len(told()) == 0 {
			t.Error("the webhook was told nothing: what it is told was not searched")
		}
	})
	v.secrets.later = func() []place { return []place{{"webhook", "requests", told()}} }
	return v
}

// receiver is the address of a webhook, and all that it was told.
func receiver(t *testing.T) (url string, told func() []byte) {
	t.Helper()
	var mu sync.Mutex
	var all []byte
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, err := httputil.DumpRequest(r, true)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, text...)
		if err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// addKeys makes the private keys of the names that the first node serves, and of
// the account, secret. It fails the test if the search does not find them in the
// files that nginx reads.
func (v *vault) addKeys(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		live := filepath.Join(v.Nodes[0].StateDir, "live", name)
		cert, err := tls.LoadX509KeyPair(filepath.Join(live, "fullchain.pem"), filepath.Join(live, "privkey.pem"))
		if err != nil {
			t.Fatal(err)
		}
		v.addKey(t, "key of "+name, private(t, cert))
		text, err := os.ReadFile(filepath.Join(live, "privkey.pem"))
		if err != nil || len(v.secrets.In(text)) == 0 {
			t.Errorf("the key of %s is not found in its file, %v: the search is blind", name, err)
		}
	}
	leaders, err := seal.Load(v.leaders)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(store.Config{Fleet: v.Name, Address: v.Consul.URL(), Leaders: leaders}, v.loadKeyring(t))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := st.Account(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key, err := issuer.ParseKey(rec.Account.Key)
	if err != nil {
		t.Fatal(err)
	}
	v.addKey(t, "ACME account key", key)
}

func private(t *testing.T, cert tls.Certificate) *ecdsa.PrivateKey {
	t.Helper()
	key, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("key is a %T, want one on a curve", cert.PrivateKey)
	}
	return key
}

func (v *vault) addKey(t *testing.T, what string, key *ecdsa.PrivateKey) {
	t.Helper()
	scalar, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	v.secrets.Add(what, scalar)
}

// fetch asks a node for a page and keeps the answer for the search.
func (v *vault) fetch(t *testing.T, addr, kind, path, token string, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if path == "/v1/stream" { // which does not end
		first := make([]byte, 64<<10)
		n, err := resp.Body.Read(first)
		v.secrets.Show(kind, path, first[:n])
		if err != nil || resp.Body.Close() != nil {
			t.Errorf("GET %s = %v", path, err)
		}
		return
	}
	text, err := httputil.DumpResponse(resp, true)
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != want {
		t.Errorf("GET %s = %s, %v, want %d", path, resp.Status, err, want)
	}
	v.secrets.Show(kind, path, text)
}

// handOut has the second node get the keyring through Consul, and replaces it.
func (v *vault) handOut(t *testing.T) {
	t.Helper()
	n, key := v.Nodes[1], v.Nodes[0].Settings["keyring.operator_key_file"].(string) //nolint:errcheck,forcetypeassert // it was set
	operator := strings.TrimSpace(v.CLI(t, "node", "operator").Want(t, 0).Stdout)
	n.Agent.Stop(t)
	n.fromConsul(t, operator)
	v.admit(t, n)
	n.StartAgent(t)
	v.AwaitProved(t, v.Status(t).Epoch)
	v.CLI(t, "keyring", "rotate", "--timeout", "1m").Want(t, 0)
	v.secrets.AddKeyring(t, v.keyring)
	for what, file := range map[string]string{"operator's key": key, "identity of a node": filepath.Join(n.StateDir, "node.age")} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Fields(string(text))
		last := []byte(words[len(words)-1])
		v.secrets.Add(what, last)
		if seed, err := base64.StdEncoding.DecodeString(string(last)); err == nil {
			v.secrets.Add(what, seed)
		}
	}
	for _, args := range []string{"node list", "keyring list", "node init"} {
		v.CLI(t, strings.Fields(args)...).Want(t, 0)
	}
}

// snapshot is what Consul writes to disk of its state.
func (v *vault) snapshot(t *testing.T) []byte {
	t.Helper()
	packed, _, err := v.Consul.Client(t).Snapshot().Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(plain)
	if err != nil || packed.Close() != nil || !bytes.Contains(all, []byte(v.path("tickets/ring"))) {
		t.Fatalf("read snapshot: %v, %d bytes, which may have no ring", err, len(all))
	}
	return all
}

// TestNoSecretLeavesItsPlace has a fleet do everything that it can do, and searches
// all that others may see.
func TestNoSecretLeavesItsPlace(t *testing.T) {
	t.Parallel()
	planted := randomBytes(t, 16)
	mark := hex.EncodeToString(planted)
	v := newVault(t, mark)
	v.leadTo(t, v.Nodes[0], "shop.test")
	v.Add(t, "shop.test")
	v.Add(t, "nowhere.test", "shop.example.org") // which the CA asks its own DNS server for
	first := v.AwaitIssued(t, "shop.test", "", v.Nodes...)
	own := newCA(t)
	imported := own.Issue(t, 90, "imported.test")
	v.Import(t, imported)
	v.AwaitServed(t, own, "imported.test", imported, v.Nodes...)
	v.addKeys(t, "shop.test", "imported.test")
	v.CLI(t, "domain", "renew", "shop.test").Want(t, 0)
	v.AwaitIssued(t, "shop.test", first.Serial, v.Nodes...)
	v.addKeys(t, "shop.test")
	testkit.Eventually(t, issueTime, "records by the key of DNS updates", func() error {
		if n := v.bind.Added(t, "_acme-challenge.shop.example.org"); n < 2 {
			return fmt.Errorf("%d were set, want one for the preflight and one for the order", n)
		}
		return nil
	})
	failed := v.AwaitDomain(t, "shop.example.org", issuance.Waiting).Failure.At
	v.bind.Stop(t)
	v.CLI(t, "domain", "retry", "shop.example.org").Want(t, 0)
	testkit.Eventually(t, issueTime, "a failure without the DNS server", func() error {
		if d := v.AwaitDomain(t, "shop.example.org", issuance.Waiting); d.Failure.At.Equal(failed) {
			return fmt.Errorf("it is still %+v", d.Failure)
		}
		return nil
	})
	v.handOut(t)
	v.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	event := randomBytes(t, 80)
	v.secrets.Add("key of an event", event[16:48])
	epoch := v.Status(t).Epoch
	v.fire(t, "ssl-session-ticket-refresh", []byte(base64.StdEncoding.EncodeToString(event)))
	v.AwaitProved(t, epoch+2)
	v.CLI(t, "rotate-ticket", "--emergency").Want(t, 0)
	for _, name := range []string{mark, "bucket", "database"} {
		v.awaitCopied(t, name, 2, 3)
	}
	file := filepath.Join(v.Dir, "fleet.backup")
	v.CLI(t, "backup", file).Want(t, 0)
	v.CLI(t, "restore-fleet", "--yes", "--force", file).Want(t, 0)
	out := filepath.Join(v.Dir, "exported")
	v.CLI(t, "cert", "export", "imported.test", "--out", out).Want(t, 0)
	v.CLI(t, "cert", "export", "imported.test", "--out", out, "--force").Want(t, 0)
	for _, args := range []string{"status", "ticket show", "cert list", "cert show imported.test", "domain list", "domain show shop.test", "domain show shop.example.org", "plan", "site list", "status --format json"} {
		v.CLI(t, strings.Fields(args)...).Want(t, 0)
	}
	v.CLI(t, "doctor", "--format", "json")

	v.look(t, file)
	v.loseCopies(t, own)
	v.plant(t, planted, mark)
	for _, n := range v.Nodes {
		n.Agent.Stop(t)
	}
	v.CLI(t, "restore").Want(t, 0)
	if v.secrets.Count() < 25 {
		t.Errorf("collected %d secrets, want those of 5 ticket keys and 15 others at least", v.secrets.Count())
	}
	v.secrets.WantNone(t)
	v.secrets.wantFound(t, planted, "KV value", "snapshot", "log", "HTTP", "metrics", "command line", "environment", "temporary file", "file", "output", "archive", "bucket", "database", "backup", "webhook")
	if names := v.temp.names(); !slices.Equal(names, []string{"planted"}) {
		t.Errorf("files were made in the folder for temporary files: %q, want none but the planted one", names)
	}
}

// look asks for every page and reads what is stored elsewhere.
func (v *vault) look(t *testing.T, backup string) {
	t.Helper()
	for _, addr := range v.addrs {
		for _, path := range []string{"/", "/assets/app.js", "/v1/status", "/v1/fleet", "/v1/names", "/v1/expiry", "/v1/waiting", "/v1/stream"} {
			v.fetch(t, addr, "HTTP", path, v.token, http.StatusOK)
		}
		v.fetch(t, addr, "metrics", "/metrics", v.token, http.StatusOK)
		v.fetch(t, addr, "HTTP", "/metrics", "a wrong token of somebody", http.StatusUnauthorized)
	}
	v.secrets.Show("snapshot", "of Consul", v.snapshot(t))
	text, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	v.secrets.Show("backup", backup, text)
	places := v.copies.open(t, v.Name)
	places["archive"] = archive.Directory(v.archive)
	for kind, place := range places {
		v.showAll(t, kind, place)
	}
}

// showAll reads all objects of an archive.
func (v *vault) showAll(t *testing.T, kind string, a archive.Archive) {
	t.Helper()
	var names []string
	if err := a.List(t.Context(), "", func(o archive.Object) { names = append(names, o.Name) }); err != nil {
		t.Fatalf("list %s: %v", kind, err)
	}
	for _, name := range names {
		text, err := a.Get(t.Context(), name)
		if err != nil && !errors.Is(err, archive.ErrMissing) { // swept meanwhile
			t.Errorf("read %s of %s: %v", name, kind, err)
		}
		v.secrets.Show(kind, name, text)
	}
}

// loseCopies has agents and commands say what it is that they cannot reach.
func (v *vault) loseCopies(t *testing.T, own *CA) {
	t.Helper()
	v.copies.bucket.Stop(t)
	v.copies.database.Stop(t)
	v.Import(t, own.Issue(t, 90, "late.test"))
	for _, name := range []string{"bucket", "database"} {
		v.CLI(t, "backup", "--from", name, filepath.Join(v.Dir, name+".backup")).Want(t, 1)
		testkit.Eventually(t, settle, "a leader that misses the "+name, func() error {
			for _, n := range v.Nodes {
				for line := range strings.Lines(n.Agent.Log()) {
					if strings.Contains(line, "copy not up to date") && strings.Contains(line, "archive="+name) {
						return nil
					}
				}
			}
			return errors.New("no log says so")
		})
	}
}

// plant puts a secret where the names of fleet and archive do not come.
func (v *vault) plant(t *testing.T, planted []byte, mark string) {
	t.Helper()
	file := filepath.Join(v.tempDir(), "planted")
	if err := os.WriteFile(file, planted, 0o600); err != nil {
		t.Fatal(err)
	}
	shell := startChild(t, "shell", filepath.Join(t.TempDir(), "log"), []string{"PLANTED=" + base64.StdEncoding.EncodeToString(planted)}, "sh", "-c", "sleep 600; :", mark)
	defer shell.Kill(t)
	testkit.Eventually(t, settle, "the planted secret to be seen", func() error {
		for _, kind := range []string{"command line", "environment", "temporary file"} {
			if !v.secrets.saw(kind, mark, base64.StdEncoding.EncodeToString(planted), string(planted)) {
				return fmt.Errorf("no %s with it", kind)
			}
		}
		return nil
	})
}

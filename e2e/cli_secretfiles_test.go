package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// replace puts text at path by rename, readable by the owner only.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestChangedKeyringTakesEffect(t *testing.T) {
	t.Parallel()
	f := NewFleet(t, FleetOptions{Nodes: 2})
	old, err := os.ReadFile(f.keyring)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(f.Dir, "next")
	f.CLI(t, "keyring", "init", "--file", file).Want(t, 0)
	next, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, f.keyring, string(next)+string(old))
	for _, n := range f.Nodes {
		AwaitLog(t, n.Agent, "configuration changed")
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0) // sealed with the new key
	for _, n := range f.Nodes {
		if n.Reloads() != 2 {
			t.Errorf("nginx of %s was reloaded %d times, want twice, for two rings", n.Name, n.Reloads())
		}
	}
}

func TestBrokenKeyringChangesNothing(t *testing.T) {
	t.Parallel()
	copied := filepath.Join(t.TempDir(), "keyring")
	f := NewFleet(t, FleetOptions{Nodes: 2, Idle: true})
	n := f.Nodes[1]
	text, err := os.ReadFile(f.keyring)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, copied, string(text))
	n.Settings["keyring_file"] = copied
	n.WriteConfig(t)
	for _, n := range f.Nodes {
		n.Nginx.Start(t)
		n.StartAgent(t)
	}
	f.AwaitProved(t, 1)

	const refused = "configuration not usable, keeping the old one"
	replace(t, copied, "no keyring\n")
	AwaitLog(t, n.Agent, refused, "keyring")
	before := CountLog(n.Agent, refused)
	n.Agent.Signal(t, syscall.SIGHUP)
	testkit.Eventually(t, settle, "another refusal", func() error {
		if CountLog(n.Agent, refused) == before {
			return errors.New("no such line")
		}
		return nil
	})
	// A change that is sound by itself does not go past the broken keyring.
	n.Settings["nginx.reprove_every"] = "7s"
	n.WriteConfig(t)
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	if !n.Agent.Running() || CountLog(n.Agent, "agent started") != 1 {
		t.Errorf("%s started its loops %d times and runs: %t; want them untouched", n.Name, CountLog(n.Agent, "agent started"), n.Agent.Running())
	}
	replace(t, copied, string(text))
	AwaitLog(t, n.Agent, "configuration changed")
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
}

func TestChangedTokenFileTakesEffect(t *testing.T) {
	t.Parallel()
	consul := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulACL(), testkit.ConsulSessionTTLMin(time.Second))
	acl := consul.Client(t).ACL()
	token := func() *api.ACLToken {
		made, _, err := acl.TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: "global-management"}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	first, second := token(), token()
	file := filepath.Join(t.TempDir(), "token")
	replace(t, file, first.SecretID+"\n")
	f := NewFleet(t, FleetOptions{Nodes: 1, Consul: consul, Settings: Settings{"consul.token_file": file}})
	replace(t, file, second.SecretID+"\n")
	AwaitLog(t, f.Nodes[0].Agent, "configuration changed")
	if _, err := acl.TokenDelete(first.AccessorID, nil); err != nil {
		t.Fatal(err)
	}
	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
}

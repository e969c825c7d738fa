package store_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// events stand for the names that agents act on.
var events = []string{"tlsfleet-rotate-ticket"}

// court is a fleet "f" on a Consul that denies by default: node one has a Consul
// agent of its own, and so has the leader, whose session holds the lock.
type court struct {
	server, one *testkit.ConsulServer
	session     string // of the leader, on another Consul node
	own         string // a session on Consul node one
}

func newCourt(t *testing.T) court {
	t.Helper()
	server := testkit.Consul(t, testkit.ConsulACL())
	c := court{server: server, one: server.Join(t, "one")}
	two := server.Join(t, "two")
	admin := server.Client(t)
	for _, path := range []string{
		"meta", "tickets/ring", "inventory/head", "inventory/shards/7", "bundles/b", "chains/c", "nodes/one", "nodes/two",
		"issuance/ab/abc", "intake/1", "acme/account", "acme/answer", "acme/ledgers/ca", "acme/challenges/token", "sites/head", "sites/shop", "waves/current", "waves/heads/1", "waves/sites/shop/1", "reload/limit", "reload/slots/1",
		"keyring/state", "keyring/rotation", "keyring/nodes/one", "keyring/nodes/two",
	} {
		if _, err := admin.KV().Put(&api.KVPair{Key: key(path), Value: []byte("x")}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if c.session, _, err = two.Client(t).Session().Create(&api.SessionEntry{TTL: "1h"}, nil); err != nil {
		t.Fatal(err)
	}
	if c.own, _, err = c.one.Client(t).Session().Create(&api.SessionEntry{TTL: "600s", LockDelay: time.Millisecond}, nil); err != nil {
		t.Fatal(err)
	}
	if ok, _, err := admin.KV().Acquire(&api.KVPair{Key: key("leader"), Session: c.session}, nil); err != nil || !ok {
		t.Fatalf("acquire the lock: %t, %v", ok, err)
	}
	return c
}

func key(path string) string { return "tlsfleet/f/" + path }

// clientOf is a client of Consul node one with the token of a role.
func (c court) clientOf(t *testing.T, role store.Role) *api.Client {
	t.Helper()
	h := store.Holder{Role: role, Fleet: "f", Node: "one", Events: events}
	return c.one.ClientWith(t, token(t, c.server, store.RulesHCL(h.Rights())))
}

// deed is something that a token may be used for; refused by ErrDenied or 403.
type deed func(c *api.Client) error

func get(path string) deed {
	return func(c *api.Client) error {
		pair, _, err := c.KV().Get(key(path), nil)
		if err == nil && pair == nil {
			err = errors.New("nothing there")
		}
		return err
	}
}

func list(path string) deed {
	return func(c *api.Client) error {
		pairs, meta, err := c.KV().List(key(path), nil)
		if err == nil && (len(pairs) == 0 || meta.ResultsFilteredByACLs) {
			err = errHidden
		}
		return err
	}
}

func write(path string) deed {
	return func(c *api.Client) error {
		_, err := c.KV().Put(&api.KVPair{Key: key(path), Value: []byte("y")}, nil)
		return err
	}
}

func txn(path string) deed {
	return func(c *api.Client) error {
		ok, resp, _, err := c.Txn().Txn(api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVSet, Key: key(path), Value: []byte("z")}}}, nil)
		if err == nil && !ok {
			err = errors.New(resp.Errors[0].What)
		}
		return err
	}
}

func remove1(path string) deed {
	return func(c *api.Client) error { _, err := c.KV().Delete(key(path), nil); return err }
}

// errHidden is an answer that Consul has shortened to nothing.
var errHidden = errors.New("hidden")

// isRefusal tells an answer that says no from one that is broken.
func isRefusal(err error) bool {
	return err != nil && (consul.Status(err) == http.StatusForbidden || errors.Is(err, errHidden) || strings.Contains(err.Error(), "Permission denied") || strings.HasSuffix(err.Error(), "code: 403"))
}

// TestRightsOfRoles uses a token of each role for what it is for, and for what
// whoever steals it would like to do. Order matters within a role only for what
// is removed, which is last.
func TestRightsOfRoles(t *testing.T) {
	t.Parallel()
	c := newCourt(t)
	const a, l, o = store.RoleAgent, store.RoleLeader, store.RoleOperator
	service := func(id string) deed {
		return func(c *api.Client) error {
			return c.Agent().ServiceRegister(&api.AgentServiceRegistration{ID: id, Name: id})
		}
	}
	tests := map[string]struct {
		do  deed
		may []store.Role
	}{
		"read the ring":                   {get("tickets/ring"), []store.Role{a, l, o}},
		"write the ring":                  {write("tickets/ring"), []store.Role{l, o}},
		"write the ring in a transaction": {txn("tickets/ring"), []store.Role{l, o}},
		"read the inventory":              {get("inventory/head"), []store.Role{a, l, o}},
		"write the inventory's head":      {write("inventory/head"), []store.Role{l, o}},
		"read a shard":                    {get("inventory/shards/7"), []store.Role{a, l, o}},
		"write a shard":                   {txn("inventory/shards/7"), []store.Role{l, o}},
		"read a bundle":                   {get("bundles/b"), []store.Role{a, l, o}},
		"write a bundle":                  {txn("bundles/b"), []store.Role{l, o}},
		"list bundles":                    {list("bundles/"), []store.Role{a, l, o}},
		"write a chain":                   {write("chains/c"), []store.Role{l, o}},
		"write the own report":            {write("nodes/one"), []store.Role{a, l}},
		"write another report":            {write("nodes/two"), nil},
		"write a report by prefix":        {write("nodes/one2"), nil},
		"read another report":             {get("nodes/two"), []store.Role{a, l, o}},
		"read all reports":                {list("nodes/"), []store.Role{a, l, o}},
		"read the account":                {get("acme/account"), []store.Role{l}},
		"write the account":               {write("acme/account"), []store.Role{l}},
		"list the account":                {list("acme/account"), []store.Role{l}},
		"read the answer":                 {get("acme/answer"), []store.Role{a, l, o}},
		"write the answer":                {write("acme/answer"), []store.Role{l}},
		"read a ledger":                   {get("acme/ledgers/ca"), []store.Role{l, o}},
		"read a challenge":                {get("acme/challenges/token"), []store.Role{a, l}},
		"write a challenge":               {write("acme/challenges/token"), []store.Role{l}},
		"write a ledger":                  {write("acme/ledgers/ca"), []store.Role{l}},
		"list the journal":                {list("issuance/ab/"), []store.Role{l, o}},
		"write the journal":               {txn("issuance/ab/abc"), []store.Role{l}},
		"read the sites":                  {get("sites/head"), []store.Role{a, l, o}},
		"read a site":                     {get("sites/shop"), []store.Role{a, l, o}},
		"write a site":                    {txn("sites/shop"), []store.Role{o}},
		"write the sites' head":           {txn("sites/head"), []store.Role{o}},
		"see how far sites are":           {get("waves/current"), []store.Role{a, l, o}},
		"say how far sites are":           {txn("waves/current"), []store.Role{l}},
		"read a pinned site":              {get("waves/sites/shop/1"), []store.Role{a, l}},
		"pin a site":                      {txn("waves/heads/1"), []store.Role{l}},
		"see who reloads":                 {list("reload/"), []store.Role{a, l, o}},
		"take a reload slot": {func(cl *api.Client) error {
			_, _, err := cl.KV().Acquire(&api.KVPair{Key: key("reload/slots/0"), Session: c.own}, nil)
			return err
		}, []store.Role{a, l}},
		"read what keys seal":     {get("keyring/state"), []store.Role{l, o}},
		"read its own keyring":    {get("keyring/nodes/one"), []store.Role{a, l, o}},
		"read another's keyring":  {get("keyring/nodes/two"), []store.Role{o}},
		"write its own keyring":   {txn("keyring/nodes/one"), []store.Role{o}},
		"say what keys seal":      {txn("keyring/state"), []store.Role{l}},
		"see what is rotated":     {get("keyring/rotation"), []store.Role{l, o}},
		"rotate the keyring":      {txn("keyring/rotation"), []store.Role{o}},
		"say how many may reload": {txn("reload/limit"), []store.Role{l}},
		"ask for a domain":        {write("intake/2"), []store.Role{l, o}},
		"read what is asked for":  {list("intake/"), []store.Role{l, o}},
		"read the schema":         {get("meta"), []store.Role{l, o}},
		"write the schema":        {write("meta"), []store.Role{l}},
		"see the leader":          {get("leader"), []store.Role{l, o}},
		"take the lock": {func(cl *api.Client) error {
			_, _, err := cl.KV().Acquire(&api.KVPair{Key: key("leader"), Session: c.own}, nil)
			return err
		}, []store.Role{l}},
		"destroy the leader's session": {func(cl *api.Client) error { _, err := cl.Session().Destroy(c.session, nil); return err }, nil},
		"renew the leader's session":   {func(cl *api.Client) error { _, _, err := cl.Session().Renew(c.session, nil); return err }, nil},
		"make a session on another node": {func(cl *api.Client) error {
			_, _, err := cl.Session().Create(&api.SessionEntry{Node: "two"}, nil)
			return err
		}, nil},
		"make and end a session of its own": {func(cl *api.Client) error {
			id, _, err := cl.Session().Create(&api.SessionEntry{TTL: "10s"}, nil)
			if err == nil {
				_, err = cl.Session().Destroy(id, nil)
			}
			return err
		}, []store.Role{a, l}},
		"fire an event": {func(cl *api.Client) error {
			_, _, err := cl.Event().Fire(&api.UserEvent{Name: events[0]}, nil)
			return err
		}, nil},
		"register its service": {service("tlsfleet"), []store.Role{a, l}},
		"register another one": {service("web"), nil},
		// Consul grants services by name, not by node: docs/operations.md says so.
		"take the service of another node away": {func(cl *api.Client) error {
			if _, err := c.server.Client(t).Catalog().Register(&api.CatalogRegistration{
				Node: "two", SkipNodeUpdate: true, Service: &api.AgentService{ID: "victim", Service: "tlsfleet"},
			}, nil); err != nil {
				t.Fatal(err)
			}
			_, err := cl.Catalog().Deregister(&api.CatalogDeregistration{Node: "two", ServiceID: "victim"}, nil)
			return err
		}, []store.Role{a, l}},
		"take another node away": {func(cl *api.Client) error {
			_, err := cl.Catalog().Deregister(&api.CatalogDeregistration{Node: "two"}, nil)
			return err
		}, nil},
		"read the local agent": {func(cl *api.Client) error { _, err := cl.Agent().Self(); return err }, []store.Role{a, l}},
		"reload the agent":     {func(cl *api.Client) error { return cl.Agent().Reload() }, nil},
		"read gossip keys":     {func(cl *api.Client) error { _, err := cl.Operator().KeyringList(nil); return err }, nil},
		"make a token":         {func(cl *api.Client) error { _, _, err := cl.ACL().TokenCreate(&api.ACLToken{}, nil); return err }, nil},
		"write another fleet": {func(cl *api.Client) error {
			_, err := cl.KV().Put(&api.KVPair{Key: "tlsfleet/g/tickets/ring"}, nil)
			return err
		}, nil},
		"see all nodes":         {health(c.server.Node), []store.Role{a, l, o}},
		"see its own node":      {health("one"), []store.Role{a, l, o}},
		"see the fleet's nodes": {members, []store.Role{a, l, o}},
		"wipe the fleet":        {func(cl *api.Client) error { _, err := cl.KV().DeleteTree(key(""), nil); return err }, nil},
		"wipe the reports":      {func(cl *api.Client) error { _, err := cl.KV().DeleteTree(key("nodes/"), nil); return err }, nil},
		"remove another report": {remove1("nodes/two"), nil},
		"remove the account":    {remove1("acme/account-"), nil},
	}
	for _, path := range []string{"tickets/ring", "inventory/head", "bundles/b", "chains/c", "nodes/two", "acme/answer", "acme/account", "leader", "meta"} {
		tests["as an agent remove "+path] = struct {
			do  deed
			may []store.Role
		}{remove1(path), []store.Role{"not asked"}}
	}
	for _, role := range store.Roles() {
		client := c.clientOf(t, role)
		for name, tt := range tests {
			if slices.Contains(tt.may, "not asked") && role != a {
				continue
			}
			err := tt.do(client)
			if may := slices.Contains(tt.may, role); may && err != nil || !may && !isRefusal(err) {
				t.Errorf("role %s: %s = %v, want allowed: %t", role, name, err, may)
			}
		}
	}
}

// health looks at a node's checks.
func health(node string) deed {
	return func(c *api.Client) error {
		checks, _, err := c.Health().Node(node, nil)
		if err == nil && len(checks) == 0 {
			err = errHidden
		}
		return err
	}
}

// members is what tells a leader who has to prove a ring.
func members(c *api.Client) error {
	_, meta, err := c.Health().Service("tlsfleet", "", false, nil)
	if err == nil && meta.ResultsFilteredByACLs {
		err = errHidden
	}
	if err != nil {
		return err
	}
	if checks, _, err := c.Health().Node("two", nil); err != nil || len(checks) == 0 {
		return errors.Join(errHidden, err)
	}
	return nil
}

// TestAllowedSaysWhatATokenMay compares Consul's answers with the rights of each
// role, whole and with one taken away or added.
func TestAllowedSaysWhatATokenMay(t *testing.T) {
	t.Parallel()
	server := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulACL())
	for _, role := range store.Roles() {
		h := store.Holder{Role: role, Fleet: "f", Node: "one", Events: events}
		rights := h.Rights()
		var needs []store.Ask
		for _, r := range rights {
			needs = append(needs, r.Asks()...)
		}
		ask := func(rules string, asks []store.Ask) map[store.Ask]bool {
			t.Helper()
			w := newWorld(t, server.Addr, token(t, server, rules))
			got, err := w.Allowed(t.Context(), asks)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		whole := ask(store.RulesHCL(rights), needs)
		if len(whole) != len(needs) {
			t.Errorf("role %s: Allowed() = %d of %d of what its policy is for", role, len(whole), len(needs))
		}
		if wide := ask(store.RulesHCL(rights), h.TooWide()); len(wide) > 0 {
			t.Errorf("role %s: Allowed(too wide) = %v, want none", role, wide)
		}
		all := `acl = "write" operator = "write" keyring = "write" key_prefix "" { policy = "write" } session_prefix "" { policy = "write" } ` +
			`agent_prefix "" { policy = "write" } node_prefix "" { policy = "write" } service_prefix "" { policy = "write" } event_prefix "" { policy = "write" }`
		if wide := ask(all, h.TooWide()); len(wide) != len(h.TooWide()) {
			t.Errorf("role %s: Allowed(too wide) with everything = %d, want all %d", role, len(wide), len(h.TooWide()))
		}
		for i, r := range rights {
			left := slices.Concat(rights[:i], rights[i+1:])
			if got := ask(store.RulesHCL(left), r.Asks()); len(got) == len(r.Asks()) && !covered(r, left) {
				t.Errorf("role %s without %v: Allowed() = %v, want less", role, r, got)
			}
		}
	}
}

// covered reports whether another right includes this one.
func covered(r store.Right, others []store.Right) bool {
	return slices.ContainsFunc(others, func(o store.Right) bool {
		return o.Prefix && o.Resource == r.Resource && strings.HasPrefix(r.Segment, o.Segment) && (o.Policy == "write" || o.Policy == r.Policy)
	})
}

func TestAllowedWithoutAccessControl(t *testing.T) {
	t.Parallel()
	w := shared(t)
	if _, err := w.Allowed(t.Context(), []store.Ask{{Resource: "acl", Access: "write"}}); !errors.Is(err, store.ErrOpen) {
		t.Errorf("Allowed() = %v, want %v", err, store.ErrOpen)
	}
	server := testkit.Consul(t, testkit.ConsulDev(), testkit.ConsulACL())
	unknown := newWorld(t, server.Addr, "11111111-2222-3333-4444-555555555555")
	if got, err := unknown.Allowed(t.Context(), []store.Ask{{Resource: "acl", Access: "write"}}); !errors.Is(err, store.ErrDenied) {
		t.Errorf("Allowed() with a token that Consul does not know = %v, %v, want %v", got, err, store.ErrDenied)
	}
}

func TestHolderRefusesForeignNames(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		h  store.Holder
		ok bool
	}{
		"agent":                {store.Holder{Role: store.RoleAgent, Fleet: "f", Node: "n"}, true},
		"operator":             {store.Holder{Role: store.RoleOperator, Fleet: "f"}, true},
		"role":                 {store.Holder{Role: "root", Fleet: "f", Node: "n"}, false},
		"no node":              {store.Holder{Role: store.RoleLeader, Fleet: "f"}, false},
		"rules in the node":    {store.Holder{Role: store.RoleAgent, Fleet: "f", Node: `n" { policy = "read" } acl = "write`}, false},
		"path in the fleet":    {store.Holder{Role: store.RoleOperator, Fleet: "f/../g"}, false},
		"rules in Consul node": {store.Holder{Role: store.RoleAgent, Fleet: "f", Node: "n", ConsulNode: `"`}, false},
	}
	for name, tt := range tests {
		if err := tt.h.Check(); (err == nil) != tt.ok {
			t.Errorf("%s: Check() = %v, want accepted: %t", name, err, tt.ok)
		}
	}
}

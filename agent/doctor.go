package agent

import (
	"context"
	"crypto/rand"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/doctor"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/status"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// agentAnswer bounds the question to the agent of this host.
const agentAnswer = 3 * time.Second

// Examine looks at this host, its nginx, Consul and the fleet, changes nothing,
// and gives one finding for each check. What this user may not see, or what is
// away, is skipped and says so. Root is "/"; tests look below another folder
// for systemd's units.
func Examine(ctx context.Context, path, root string) []doctor.Finding {
	cfg, err := config.Load(path)
	if err != nil {
		return []doctor.Finding{doctor.Config(path, err, false), doctor.Unknown("configuration")}
	}
	x := examiner{cfg: cfg, root: root, now: time.Now()}
	ring, kept := x.keyring("", cfg.KeyringFile)
	list := []doctor.Finding{doctor.Config(path, nil, cfg.Consul.Token.Len() > 0 && openToAll(path)), kept}
	if cfg.Keyring.From == config.KeyringConsul {
		list = append(list, handedOut(cfg.Keyring)...)
	}
	if cfg.Leader.Eligible && cfg.Leader.KeyringFile != "" {
		_, leaders := x.keyring("leader-keyring", cfg.Leader.KeyringFile)
		list = append(list, leaders)
	}
	if ring != nil {
		x.keys = ring.IDs()
	} else {
		// Consul can be looked at without; records stay closed.
		if ring, err = seal.Generate(rand.Reader); err != nil {
			return append(list, doctor.Unknown("keyring"))
		}
		x.closed = true
	}
	if x.store, x.reach = storeWith(cfg, ring, nil, hclog.NewNullLogger()); x.reach != nil {
		// Without the files of TLS and the token what is on this host can be opened still.
		bare := cfg
		bare.Consul = config.Consul{Address: cfg.Consul.Address, Scheme: cfg.Consul.Scheme}
		if x.store, err = storeWith(bare, ring, nil, hclog.NewNullLogger()); err != nil {
			return append(list, doctor.Consul{Address: cfg.Consul.Address, Reach: err}.Judge()...)
		}
	}
	if x.node, err = renderer.NewViewer(rendererConfig(cfg, Options{Log: hclog.NewNullLogger()})); err != nil {
		return []doctor.Finding{doctor.Config(path, err, false), doctor.Unknown("configuration")}
	}
	list = append(list, x.consul(ctx)...)
	list = append(list, x.nginx(ctx)...)
	list = append(list, x.files()...)
	list = append(list, x.agent(ctx))
	list = append(list, x.certificates()...)
	return append(list, x.fleet(ctx)...)
}

// examiner holds what checks share.
type examiner struct {
	cfg    config.Config
	root   string
	now    time.Time
	store  *store.Store
	node   *renderer.Viewer
	keys   []string // ids of the keyring
	closed bool     // the keyring cannot be used
	reach  error    // of Consul
	survey renderer.Survey
}

func (x *examiner) keyring(id, path string) (*seal.Keyring, doctor.Finding) {
	k := doctor.Keyring{ID: id, Path: path, User: os.Geteuid()}
	if id == "" && x.cfg.Keyring.From == config.KeyringConsul {
		k.From = string(x.cfg.Keyring.From)
	}
	ring, err := seal.Load(path)
	k.Err = err
	if info, err := os.Stat(path); err == nil {
		k.Owner, k.Made = renderer.OwnerOf(info), info.ModTime()
	}
	if k.Err == nil {
		k.Keys = ring.IDs()
	}
	return ring, k.Judge(x.now)
}

// handedOut looks at what a node needs that gets its keyring from Consul.
func handedOut(k config.Keyring) []doctor.Finding {
	recipient := ""
	id, err := seal.LoadIdentity(k.IdentityFile)
	if err == nil {
		recipient = id.Recipient()
	}
	_, there := os.Stat(k.OperatorKeyFile)
	return []doctor.Finding{doctor.Identity(k.IdentityFile, recipient, err), doctor.OperatorKey(k.OperatorKeyFile, there)}
}

// agent asks the agent of this host what it thinks is wrong.
func (x *examiner) agent(ctx context.Context) doctor.Finding {
	ctx, cancel := context.WithTimeout(ctx, agentAnswer)
	defer cancel()
	r, err := status.NewClient(x.cfg.Socket).Report(ctx)
	return doctor.Agent(r.Problems, err)
}

func openToAll(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o007 != 0
}

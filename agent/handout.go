package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/google/renameio/v2"
	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// generationFile is where the highest generation is kept that was taken.
const generationFile = "keyring.generation"

// handout keeps the keyring file of a node on what the operator has wrapped for
// it in Consul. The agent takes the file up as if a person had changed it.
type handout struct {
	log      hclog.Logger
	store    *store.Store
	cfg      config.Config
	identity *seal.Identity
	operator seal.OperatorKey
	problems *problems // nil: nobody looks yet
	got      func()    // called when there is a keyring; may be nil
	told     bool
}

// newHandout reads what it needs, and makes the identity if there is none.
func newHandout(cfg config.Config, st *store.Store, log hclog.Logger) (*handout, error) {
	operator, err := seal.ParseOperatorKey(cfg.Keyring.Operator)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Keyring.IdentityFile), 0o700); err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	id, made, err := seal.EnsureIdentity(cfg.Keyring.IdentityFile)
	if err != nil {
		return nil, err
	}
	if made {
		log.Info("identity made", "file", cfg.Keyring.IdentityFile)
	}
	return &handout{log: log, store: st, cfg: cfg, identity: id, operator: operator}, nil
}

// handoutOf is that of an agent at work; nil if a person brings the keyring.
func handoutOf(cfg config.Config, st *store.Store, probs *problems, log hclog.Logger) (*handout, error) {
	if cfg.Keyring.From != config.KeyringConsul {
		return nil, nil
	}
	h, err := newHandout(cfg, st, log)
	if err != nil {
		return nil, err
	}
	h.problems = probs
	return h, nil
}

// Run follows until ctx ends.
func (h *handout) Run(ctx context.Context) error {
	return h.store.WatchGrant(ctx, h.cfg.Node, h.see)
}

// see takes in what was read in Consul. What cannot be taken changes nothing.
func (h *handout) see(rec store.GrantRecord, err error) {
	switch {
	case errors.Is(err, store.ErrMissing):
		h.missing()
		return
	case err != nil:
		h.log.Warn("keyring of this node not read", "err", err)
		return
	}
	if err := h.take(rec.Record); err != nil {
		h.log.Error("keyring for this node refused, keeping the old one", "err", err)
		h.problem(fleet.Problem{Code: "keyring-refused", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "look who wrote keyring/nodes/" + h.cfg.Node + " in Consul; tlsfleet node admit writes it anew"})
		return
	}
	h.problem()
	if h.got != nil {
		h.got()
	}
}

// missing tells that nothing was wrapped for this node, or not any more.
func (h *handout) missing() {
	hint := fmt.Sprintf("on the operator's host: tlsfleet node admit %s %s", h.cfg.Node, h.identity.Recipient())
	if _, err := os.Stat(h.cfg.KeyringFile); err == nil {
		h.problem(fleet.Problem{Code: "keyring-withdrawn", Severity: fleet.Alarm, Hint: hint,
			Message: "Consul has no keyring for this node any more: it keeps the one that it has, and what is sealed with a newer one it cannot follow"})
		return
	}
	if !h.told {
		h.log.Warn("this node was not admitted to the fleet yet, waiting for its keyring", "hint", hint)
		h.told = true
	}
}

func (h *handout) problem(list ...fleet.Problem) {
	if h.problems != nil {
		h.problems.replace("keyring-handout", list...)
	}
}

// take makes a grant the node's keyring.
func (h *handout) take(record []byte) error {
	g, err := h.operator.Verify(record, h.cfg.Fleet, h.cfg.Node)
	if err != nil {
		return err
	}
	highest, err := h.generation()
	if err != nil {
		return err
	}
	if g.Generation < highest {
		return fmt.Errorf("%w: generation %d is older than %d, which this node has taken", seal.ErrGrant, g.Generation, highest)
	}
	ring, err := h.identity.Unwrap(g)
	if err != nil {
		return err
	}
	if now, err := seal.Load(h.cfg.KeyringFile); err == nil && now.Marshal().Equal(ring.Marshal()) {
		return h.keep(g.Generation, highest)
	}
	if err := os.MkdirAll(filepath.Dir(h.cfg.KeyringFile), 0o700); err != nil {
		return fmt.Errorf("write keyring: %w", err)
	}
	// First: an older keyring is not taken after this one, whatever happens now.
	if err := h.keep(g.Generation, highest); err != nil {
		return err
	}
	if err := seal.Write(h.cfg.KeyringFile, ring); err != nil {
		return err
	}
	h.log.Info("keyring taken from Consul", "generation", g.Generation, "keys", ring.IDs())
	return nil
}

// generation is the highest that was taken; 0: none.
func (h *handout) generation() (uint64, error) {
	var kept struct {
		Generation uint64 `json:"generation"`
	}
	text, err := os.ReadFile(filepath.Join(h.cfg.StateDir, generationFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return 0, fmt.Errorf("read generation of the keyring: %w", err)
	}
	return kept.Generation, nil
}

func (h *handout) keep(generation, highest uint64) error {
	if generation == highest {
		return nil
	}
	text := fmt.Appendf(nil, "{\"generation\":%d}\n", generation)
	if err := os.MkdirAll(h.cfg.StateDir, 0o755); err != nil { //nolint:gosec // as the renderer makes it
		return fmt.Errorf("keep generation of the keyring: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(h.cfg.StateDir, generationFile), text, 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("keep generation of the keyring: %w", err)
	}
	return nil
}

// awaitKeyring waits until a node has a keyring that takes it from Consul, and
// reports false if ctx has ended before. Nothing else of an agent can run without.
func awaitKeyring(ctx context.Context, cfg config.Config, o Options) (bool, error) {
	if cfg.Keyring.From != config.KeyringConsul {
		return true, nil
	}
	if _, err := os.Stat(cfg.KeyringFile); !errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	st, err := openClosed(cfg, o.Log)
	if err != nil {
		return false, err
	}
	h, err := newHandout(cfg, st, o.Log.Named("keyring"))
	if err != nil {
		return false, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	admitted := false
	h.got = func() { admitted = true; stop() }
	tellServiceManager(o.Log, daemon.SdNotifyReady, "STATUS=waiting to be admitted: tlsfleet node admit "+cfg.Node+" "+h.identity.Recipient())
	err = h.Run(ctx)
	return admitted, err
}

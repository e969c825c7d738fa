package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

const (
	// generationFile is where the highest generation is kept that was taken.
	generationFile = "keyring.generation"
	// takeAgain is when a keyring is tried again that this host could not keep.
	takeAgain = 10 * time.Second
)

// handout keeps the keyring file of a node on what the operator has wrapped for
// it in Consul. The agent takes the file up as if a person had changed it.
type handout struct {
	log      hclog.Logger
	store    *store.Store
	cfg      config.Config
	identity *seal.Identity
	operator seal.OperatorKey
	again    time.Duration
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
	id, made, err := NodeIdentity(cfg)
	if err != nil {
		return nil, err
	}
	if made {
		log.Info("identity made", "file", cfg.Keyring.IdentityFile)
	}
	return &handout{log: log, store: st, cfg: cfg, identity: id, operator: operator, again: takeAgain}, nil
}

// NodeIdentity reads the identity of this node, and makes it if there is none.
func NodeIdentity(cfg config.Config) (id *seal.Identity, made bool, err error) {
	// The folder may be state_dir, which nginx's workers pass through.
	dir := filepath.Dir(cfg.Keyring.IdentityFile)
	if err = os.Mkdir(dir, 0o750); err == nil {
		err = os.Chmod(dir, 0o750) //nolint:gosec // whatever the umask
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, fmt.Errorf("make identity: %w", err)
	}
	return seal.EnsureIdentity(cfg.Keyring.IdentityFile)
}

// seen is what was read in Consul.
type seen struct {
	rec store.GrantRecord
	err error
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
	news, ended := make(chan seen), make(chan error, 1)
	go func() {
		ended <- h.store.WatchGrant(ctx, h.cfg.Node, func(rec store.GrantRecord, err error) {
			select {
			case news <- seen{rec, err}:
			case <-ctx.Done():
			}
		})
	}()
	var last seen
	var retry <-chan time.Time
	for {
		select {
		case err := <-ended:
			return err
		case last = <-news:
		case <-retry:
		}
		retry = nil
		if !h.see(last) {
			retry = time.After(h.again)
		}
	}
}

// see takes in what was read in Consul, and reports false if it has to be tried
// again. What cannot be taken changes nothing.
func (h *handout) see(s seen) bool {
	switch {
	case errors.Is(s.err, store.ErrMissing), errors.Is(s.err, store.ErrDenied):
		h.missing(s.err)
		return true
	case s.err != nil:
		h.log.Warn("keyring of this node not read", "err", s.err)
		return true
	}
	err := h.take(s.rec.Record)
	switch {
	case errors.Is(err, seal.ErrGrant):
		h.log.Error("keyring for this node refused, keeping the old one", "err", err)
		h.problem(fleet.Problem{Code: "keyring-refused", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "look who wrote keyring/nodes/" + h.cfg.Node + " in Consul; tlsfleet node admit writes it anew"})
		return true
	case err != nil:
		h.log.Error("keyring for this node not kept, trying again", "err", err)
		h.problem(fleet.Problem{Code: "keyring-not-kept", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "free the disk and let the agent write " + h.cfg.KeyringFile + "; it tries again by itself"})
		return false
	}
	h.problem()
	if h.got != nil {
		h.got()
	}
	return true
}

// missing tells that nothing was wrapped for this node, or not any more, or that
// its token may not see it.
func (h *handout) missing(err error) {
	hint := fmt.Sprintf("on the operator's host: tlsfleet node admit %s %s", h.cfg.Node, h.identity.Recipient())
	message := "Consul has no keyring for this node any more"
	if errors.Is(err, store.ErrDenied) {
		hint, message = "apply what `tlsfleet policy` prints for this node", "the Consul token of this node may not read its keyring"
	}
	if _, err := os.Stat(h.cfg.KeyringFile); err == nil {
		h.problem(fleet.Problem{Code: "keyring-withdrawn", Severity: fleet.Alarm, Hint: hint,
			Message: message + ": it keeps the one that it has, and what is sealed with a newer one it cannot follow"})
		return
	}
	if !h.told {
		h.log.Warn("this node was not admitted to the fleet yet, waiting for its keyring", "err", err, "hint", hint)
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
	path := filepath.Join(h.cfg.StateDir, generationFile)
	text, err := seal.ReadPrivate(path, 1<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return 0, fmt.Errorf("read generation of the keyring: %w: see who changed %s, then remove it and admit the node again", err, path)
	}
	return kept.Generation, nil
}

func (h *handout) keep(generation, highest uint64) error {
	if generation == highest {
		return nil
	}
	if err := seal.WritePrivate(filepath.Join(h.cfg.StateDir, generationFile), fmt.Appendf(nil, "{\"generation\":%d}\n", generation)); err != nil {
		return fmt.Errorf("keep generation of the keyring: %w", err)
	}
	return nil
}

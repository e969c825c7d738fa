package renderer

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/templates"
)

// Renderer owns the state and run folders of one host. Its methods may be
// called from several goroutines; those that change something run one at a
// time.
type Renderer struct {
	cfg    Config
	prober Prober
	lock   *os.File

	built  remembered[build]
	parsed remembered[*config]  // never changed in place
	made   remembered[manifest] // likewise

	mu           sync.Mutex             // one change at a time
	warnedMirror bool                   // the fallback without a mirror was logged
	refused      map[string]refusedSite // sites that nginx refused, by ID
	refusedBy    string                 // its version
	prefix       string                 // option -p of the last master seen; "" without one
	placed       *placed                // the release this process made current; nil if not yet looked at

	certs   sync.Mutex               // one change of the certificates at a time; taken after mu
	group   *int                     // of nginx's workers; nil if not yet known
	orphans map[fleet.Hash]time.Time // bundles without a name, since when
	fresh   map[fleet.Hash]bool      // put last, and not yet served
	staged  atomic.Uint64            // how many bundles

	unsynced map[string]bool // copies of the inventory that are not durable yet
}

// New prepares the folders and takes the lock on them: StateDir 0750,
// RunDir/tickets 0700. Errors wrap ErrNotTmpfs when RunDir would keep keys on
// a disk, and ErrLocked when another agent uses StateDir. It removes what a
// killed agent left half-written.
func New(cfg Config, p Prober) (*Renderer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	// Values that nginx cannot be told are refused now, not at the first release.
	if _, err := templates.Render(templates.Values{
		ReleaseAddress: cfg.ReleaseAddress, KeyFiles: []string{cfg.ticketsDir()},
		SessionTimeout: cfg.SessionTimeout, DefaultServers: cfg.DefaultServers,
	}); err != nil {
		return nil, fmt.Errorf("use configuration: %w", err)
	}
	r := &Renderer{
		cfg: cfg, prober: p, made: remembered[manifest]{own: true},
		orphans: map[fleet.Hash]time.Time{}, unsynced: map[string]bool{}, refused: map[string]refusedSite{},
	}
	if err := r.open(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Renderer) open() error {
	if err := makeDir(r.cfg.StateDir, 0o750); err != nil {
		return err
	}
	lock, err := takeLock(r.cfg.lockFile())
	if err != nil {
		return err
	}
	r.lock = lock
	if err := makeDir(r.cfg.releasesDir(), 0o750); err != nil {
		return err
	}
	if err := r.openTree(); err != nil {
		return err
	}
	if err := makeDir(r.cfg.RunDir, 0o755); err != nil {
		return err
	}
	if !r.cfg.AllowPersistentKeys {
		if err := checkTmpfs(r.cfg.RunDir); err != nil {
			return err
		}
	}
	if err := makeDir(r.cfg.ticketsDir(), 0o700); err != nil {
		return err
	}
	return r.sweep()
}

// Close gives the lock back. The files stay.
func (r *Renderer) Close() error {
	if r.lock == nil {
		return nil
	}
	lock := r.lock
	r.lock = nil
	// Not by closing alone: a child that is being started has the file as well.
	if err := errors.Join(unix.Flock(int(lock.Fd()), unix.LOCK_UN), lock.Close()); err != nil {
		return fmt.Errorf("release lock: %w", err)
	}
	return nil
}

// takeLock opens path and locks it for as long as the file stays open.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// step tells the hook that a step of Apply is done.
func (r *Renderer) step(name string) {
	if r.cfg.OnStep != nil {
		r.cfg.OnStep(name)
	}
}

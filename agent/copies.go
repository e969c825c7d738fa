package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// Copies is what an operator does with copies of the fleet outside Consul. It
// needs what a leader has: token, keyrings, archives.
type Copies struct {
	cfg   config.Config
	store *store.Store
	log   hclog.Logger
}

// OpenCopies reads the keyrings and prepares to talk to Consul.
func OpenCopies(cfg config.Config, log hclog.Logger) (*Copies, error) {
	st, err := openAgentStore(cfg, log)
	if err != nil {
		return nil, err
	}
	return &Copies{cfg: cfg, store: st, log: log}, nil
}

// CopyInfo says what is in a copy.
type CopyInfo struct {
	Fleet string    `json:"fleet"`
	At    time.Time `json:"at"`
	Epoch uint64    `json:"epoch"` // of the inventory when it was copied
	Names int       `json:"names"`
	Items int       `json:"items"` // of the journal of issuance
	Sites int       `json:"sites"`
	Lost  int       `json:"lost,omitempty"` // certificates that were not in Consul any more
}

func infoOf(m archive.Manifest) CopyInfo {
	return CopyInfo{m.Fleet, m.At, m.Epoch, m.Names, m.Items, sitesIn(m), len(m.Lost)}
}

// Backup writes the fleet in Consul, or with from the copy in that archive, to w
// as one file, sealed as it is in Consul. w has a usable file only if there is
// no error.
func (c *Copies) Backup(ctx context.Context, w io.Writer, from string, progress func(done, total int)) (CopyInfo, error) {
	file := archive.NewWriter(w)
	var m archive.Manifest
	var err error
	if from == "" {
		m, err = c.copyConsul(ctx, file)
	} else {
		m, err = c.copyArchive(ctx, file, from, progress)
	}
	if err == nil {
		err = file.Finish()
	}
	if err != nil {
		return CopyInfo{}, fmt.Errorf("back up fleet %s: %w", c.cfg.Fleet, err)
	}
	return infoOf(m), nil
}

// copyConsul is the first copy of a leader, into a file.
func (c *Copies) copyConsul(ctx context.Context, file *archive.Writer) (archive.Manifest, error) {
	x := &copier{log: c.log, store: c.store, fleet: c.cfg.Fleet, target: file}
	for tries := 1; ; tries++ {
		if err := x.load(ctx); err != nil {
			return archive.Manifest{}, err
		}
		err := x.pass(ctx, time.Now())
		if err == nil && x.manifest.Epoch == 0 && x.manifest.Items == 0 && sitesIn(x.manifest) == 0 {
			return archive.Manifest{}, errors.New("neither certificates nor domains nor sites of it are in Consul")
		}
		if !errors.Is(err, errMoved) || tries == copyTries {
			return x.manifest, err
		}
	}
}

func (c *Copies) copyArchive(ctx context.Context, file *archive.Writer, from string, progress func(done, total int)) (archive.Manifest, error) {
	source, err := c.archive(from)
	if err != nil {
		return archive.Manifest{}, err
	}
	defer source.Close()
	manifest, err := source.Get(ctx, archive.ManifestName)
	if err != nil {
		return archive.Manifest{}, refusedCopy(err)
	}
	keep := map[string][]byte{}
	_, m, err := readCopy(ctx, pinned{source, manifest}, c.store, c.cfg.Fleet, keep, progress)
	if err != nil {
		return archive.Manifest{}, err
	}
	for name, data := range keep {
		if err := file.Put(ctx, name, data); err != nil {
			return archive.Manifest{}, err
		}
	}
	return m, file.Put(ctx, archive.ManifestName, manifest)
}

// pinned is an archive with one version of its manifest.
type pinned struct {
	archive.Archive
	manifest []byte
}

func (p pinned) Get(ctx context.Context, name string) ([]byte, error) {
	if name == archive.ManifestName {
		return p.manifest, nil
	}
	return timely{p.Archive}.Get(ctx, name)
}

// archive opens an archive of the configuration by its name.
func (c *Copies) archive(name string) (archive.Archive, error) {
	for _, a := range c.cfg.Archives {
		if a.Name == name {
			return openArchive(c.cfg, a)
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrNoArchive, name)
}

// ErrSitesLeft means that all of a copy is back but the sites, which the token may
// not write.
var ErrSitesLeft = errors.New("all but the sites is back")

// FleetCopy is a copy that has been checked as a whole, ready to be put back.
type FleetCopy struct {
	Info   CopyInfo
	copies *Copies
	copied store.FleetCopy
}

// ReadFile reads and checks a file that Backup wrote. Errors wrap ErrCopy.
func (c *Copies) ReadFile(ctx context.Context, r io.Reader, progress func(done, total int)) (*FleetCopy, error) {
	file, err := archive.ReadFile(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCopy, err)
	}
	return c.read(ctx, file, progress)
}

// ReadArchive is ReadFile for an archive of the configuration.
func (c *Copies) ReadArchive(ctx context.Context, name string, progress func(done, total int)) (*FleetCopy, error) {
	source, err := c.archive(name)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	return c.read(ctx, timely{source}, progress)
}

func (c *Copies) read(ctx context.Context, from objects, progress func(done, total int)) (*FleetCopy, error) {
	copied, m, err := readCopy(ctx, from, c.store, c.cfg.Fleet, nil, progress)
	if err != nil {
		return nil, err
	}
	return &FleetCopy{infoOf(m), c, copied}, nil
}

// CheckVacant refuses a fleet in Consul that is not empty: store.ErrNewer or
// store.ErrOccupied.
func (f *FleetCopy) CheckVacant(ctx context.Context) error {
	return f.copies.store.CheckVacant(ctx, f.copied)
}

// Restore puts the copy back, in place of what is in Consul, and tells the
// leader, by whom, to read it. ErrSitesLeft if the token may not write sites.
func (f *FleetCopy) Restore(ctx context.Context, by string, progress func(done, total int)) (store.Restored, error) {
	st := f.copies.store
	if err := st.CheckMeta(ctx); err != nil && !errors.Is(err, store.ErrMissing) && !errors.Is(err, store.ErrRecord) {
		return store.Restored{}, err
	}
	done, err := st.RestoreFleet(ctx, f.copied, progress)
	if err != nil {
		return done, err
	}
	if len(f.copied.Singles) > 0 || len(f.copied.Items) > 0 {
		if _, err := st.PutRequest(ctx, issuance.Request{At: time.Now(), By: by, Do: issuance.Reread}); err != nil {
			return done, err
		}
	}
	// Last, because a token that may lead need not be one that may write sites.
	if done.Sites, err = st.RestoreSites(ctx, f.copied); errors.Is(err, store.ErrDenied) {
		err = fmt.Errorf("%w: %w", ErrSitesLeft, err)
	}
	return done, err
}

// unknownKey reports whether a record is sealed with a key that is not here,
// which says nothing about the record.
func unknownKey(err error) bool { return errors.Is(err, seal.ErrUnknownKey) }

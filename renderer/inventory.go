package renderer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Bounds of the local copy of the inventory.
const (
	inventoryHead   = "head"
	inventoryShards = 1024
	maxSealed       = 1 << 20
)

// SaveInventory keeps sealed records of the inventory for a start without
// Consul: names are "head" or the number of a shard. Each is replaced by
// rename; after an error some of them may be the former ones.
func (r *Renderer) SaveInventory(records map[string][]byte) error {
	write := writeFiles
	if len(records) < syncfsAt {
		write = writeEach
	}
	return r.saveInventory(records, write)
}

// SaveInventorySoon is SaveInventory without waiting for the disk, if there are
// few: a power failure before SyncInventory may damage them.
func (r *Renderer) SaveInventorySoon(records map[string][]byte) error {
	if len(records) >= syncfsAt {
		return r.SaveInventory(records)
	}
	return r.saveInventory(records, func(dir string, records map[string][]byte, perm fs.FileMode) error {
		for name, sealed := range records {
			r.unsynced[name] = true
			if err := replaceSoon(filepath.Join(dir, name), sealed, perm); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *Renderer) saveInventory(records map[string][]byte, write func(string, map[string][]byte, fs.FileMode) error) error {
	for name, sealed := range records {
		if !isInventory(name) {
			return fmt.Errorf("save inventory: no record is named %.40q", name)
		}
		if len(sealed) > maxSealed {
			return fmt.Errorf("save inventory %s: %d bytes, want at most %d", name, len(sealed), maxSealed)
		}
	}
	r.certs.Lock()
	defer r.certs.Unlock()
	if err := write(r.cfg.inventoryDir(), records, 0o600); err != nil {
		return fmt.Errorf("save inventory: %w", err)
	}
	r.step(StepInventorySaved)
	return nil
}

// SyncInventory makes durable what SaveInventorySoon has kept.
func (r *Renderer) SyncInventory() error {
	r.certs.Lock()
	defer r.certs.Unlock()
	if len(r.unsynced) == 0 {
		return nil
	}
	for name := range r.unsynced {
		err := syncFile(filepath.Join(r.cfg.inventoryDir(), name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // one that others have removed is read afresh
			return fmt.Errorf("sync inventory: %w", err)
		}
	}
	if err := syncDir(r.cfg.inventoryDir()); err != nil {
		return fmt.Errorf("sync inventory: %w", err)
	}
	clear(r.unsynced)
	return nil
}

// Inventory reads what SaveInventory kept, by name. Records that cannot be
// read are named in the error; the map has all others.
func (r *Renderer) Inventory() (map[string][]byte, error) {
	entries, err := os.ReadDir(r.cfg.inventoryDir())
	if err != nil {
		return nil, fmt.Errorf("read inventory: %w", err)
	}
	records := map[string][]byte{}
	var errs []error
	for _, e := range entries {
		if !isInventory(e.Name()) {
			continue
		}
		sealed, err := readSealed(filepath.Join(r.cfg.inventoryDir(), e.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, fmt.Errorf("read inventory: %w", err))
		default:
			records[e.Name()] = sealed
		}
	}
	return records, errors.Join(errs...)
}

func readSealed(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSealed {
		return nil, fmt.Errorf("%s: %w", path, ErrForeign)
	}
	return os.ReadFile(path)
}

// isInventory reports whether name is that of a record, in its one spelling.
func isInventory(name string) bool {
	n, err := strconv.Atoi(name)
	return name == inventoryHead || err == nil && n >= 0 && n < inventoryShards && strconv.Itoa(n) == name
}

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/handlers"
)

// hubFile is what a hub remembers over restarts. It holds no key: those of
// adoptions that are left to do come again with Consul's buffer.
type hubFile struct {
	Seen    []string    `json:"seen"`
	Pending []hubRecord `json:"pending,omitempty"`
}

// hubRecord is a request that nobody was known to have acted on.
type hubRecord struct {
	ID    string    `json:"id"`
	Adopt bool      `json:"adopt,omitempty"`
	LTime uint64    `json:"ltime"`
	Seen  time.Time `json:"seen"`
}

// openHub reads what stateDir remembers of earlier events.
func openHub(fleetName, stateDir string, acceptKeys bool, log hclog.Logger, p *problems, wake func()) (*hub, error) {
	h := &hub{
		fleet: fleetName, acceptKeys: acceptKeys, file: filepath.Join(stateDir, "events.json"),
		log: log, problems: p, wake: wake, seen: map[string]bool{}, awaited: map[string]time.Time{},
	}
	data, err := os.ReadFile(h.file)
	if errors.Is(err, os.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read seen events: %w", err)
	}
	var f hubFile
	if err := json.Unmarshal(data, &f); err != nil {
		log.Warn("seen events are unreadable, starting over", "file", h.file, "err", err)
		return h, nil
	}
	h.load(f)
	return h, nil
}

func (h *hub) load(f hubFile) {
	for _, p := range f.Pending {
		switch {
		case time.Since(p.Seen) >= requestLife:
		case p.Adopt:
			h.awaited[p.ID] = p.Seen
		default:
			h.pending = append(h.pending, handlers.Request{ID: p.ID, LTime: p.LTime, Seen: p.Seen})
		}
	}
	for _, id := range f.Seen {
		if _, ok := h.awaited[id]; !ok {
			h.remember(id)
		}
	}
	h.primed = true
}

// save writes what load reads; the caller holds the lock.
func (h *hub) save() {
	f := hubFile{Seen: h.order}
	for _, q := range h.pending {
		f.Pending = append(f.Pending, hubRecord{ID: q.ID, Adopt: q.Adopt, LTime: q.LTime, Seen: q.Seen})
	}
	data, err := json.Marshal(f)
	if err == nil {
		err = renameio.WriteFile(h.file, data, 0o600, renameio.WithTempDir(filepath.Dir(h.file)))
	}
	if err != nil {
		h.log.Warn("seen events not saved", "file", h.file, "err", err)
	}
}

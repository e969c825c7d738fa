package renderer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// ticksPerSecond is the unit of start times in /proc/<pid>/stat (proc(5), USER_HZ).
const ticksPerSecond = 100

// CheckKeys says which key files of a ring are not as WriteKeys left them.
func (r *Renderer) CheckKeys(ring fleet.Ring) []Edit {
	r.mu.Lock()
	defer r.mu.Unlock()
	dir := r.cfg.ticketsDir()
	var edits []Edit
	if e := access(dir, -1, 0o700, true); e != nil {
		e.Exposes = false
		edits = append(edits, *e)
	}
	for _, m := range ring.Members() {
		path, raw := r.cfg.keyFile(m.Key.Name()), m.Key.Raw.Reveal()
		have, err := os.ReadFile(path)
		if e := access(path, -1, 0o600, false); e != nil {
			edits = append(edits, *e)
		} else if err != nil || !bytes.Equal(have, raw) {
			edits = append(edits, Edit{Path: path, What: "changed", Content: true})
		}
		clear(have)
		clear(raw)
	}
	return edits
}

// ReadSince reports whether nginx has read its configuration, and with it the
// keys, at or after a time: whether one of its workers began later. It counts
// a worker that was only started anew.
func (r *Renderer) ReadSince(ctx context.Context, t time.Time) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	master, err := r.master(ctx)
	if err != nil {
		return false, err
	}
	ws, err := workers(master.pid)
	if err != nil {
		return false, err
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return false, fmt.Errorf("read uptime: %w", err)
	}
	age := time.Since(t)
	for _, w := range append(ws, master) {
		lived := time.Duration(up.Nano()) - time.Duration(w.start)*time.Second/ticksPerSecond //nolint:gosec // ticks since boot
		if w.title != leavingTitle && lived <= age {
			return true, nil
		}
	}
	return false, nil
}

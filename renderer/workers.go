package renderer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// killGrace is how long a worker may take to end after SIGTERM.
const killGrace = 5 * time.Second

// endOldWorkers waits until no worker of the master is shutting down any
// more, because old workers keep old ticket keys in memory. Those that still
// live after OldWorkerLimit are sent SIGTERM. It returns a problem when some
// live on even then.
func (r *Renderer) endOldWorkers(ctx context.Context, master process) ([]fleet.Problem, error) {
	if left, err := waitNoneLeaving(ctx, r.cfg.OldWorkerLimit, master.leaving); err != nil || left == 0 {
		return nil, err
	}
	ws, err := workers(master.pid)
	if err != nil {
		return nil, err
	}
	for _, w := range ws {
		if w.title != leavingTitle {
			continue
		}
		r.cfg.Log.Warn("ending old worker", "pid", w.pid)
		if err := endWorker(w, master); err != nil {
			return nil, err
		}
	}
	left, err := waitNoneLeaving(ctx, killGrace, master.leaving)
	if err != nil || left == 0 {
		return nil, err
	}
	return []fleet.Problem{problem(CodeOldWorkers, fleet.Alarm,
		fmt.Sprintf("%d old nginx workers still hold replaced ticket keys in memory", left),
		"end them by hand: their title is \""+leavingTitle+"\"")}, nil
}

func endWorker(w, master process) error {
	err := signalProven(w.pid, syscall.SIGTERM, func(now process) error {
		if now.identity() != w.identity() || now.parent != master.pid || now.title != leavingTitle {
			return fs.ErrNotExist
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// leaving counts the workers of a master that are shutting down.
func (p process) leaving() (n int, err error) {
	ws, err := workers(p.pid)
	for _, w := range ws {
		if w.title == leavingTitle {
			n++
		}
	}
	return n, err
}

// handover is longer than nginx has old workers go on after it has started new
// ones: 100 ms (nginx, src/os/unix/ngx_process_cycle.c). They are not yet leaving then.
const handover = 300 * time.Millisecond

// waitNoneLeaving polls until no worker has been shutting down for handover, and
// returns how many still are when the time is over.
func waitNoneLeaving(ctx context.Context, limit time.Duration, leaving func() (int, error)) (left int, err error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var since time.Time // none has been
	err = poll(limited, lookEvery, func(context.Context) (bool, error) {
		left, err = leaving()
		switch {
		case left > 0:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		return left == 0 && time.Since(since) >= handover, err
	})
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return left, nil
	}
	return left, err
}

// Times between two looks at nginx.
const (
	lookEvery  = 50 * time.Millisecond  // at /proc and the release number
	proveEvery = 250 * time.Millisecond // at every listener, by handshakes
)

// poll calls done until it reports true or an error, or ctx ends; then the
// error is the context's.
func poll(ctx context.Context, every time.Duration, done func(context.Context) (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, err := done(ctx)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

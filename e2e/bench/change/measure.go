package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

const (
	coldLimit   = 10 * time.Minute // for a start with empty folders
	changeLimit = 5 * time.Minute  // for one change to be served
	fewest      = 3                // changes, whatever they take
	look        = 500 * time.Microsecond
	restful     = 6 // as long as the pause after a start is that before the idle time
)

// scene is one contestant at one size.
type scene struct {
	contestant
	consul string // address of its HTTP API
	server int    // its process
	stock  *stock
	who    string
	n      int
	dir    string // where it writes

	node node
	wire *wire
	proc *lab.Process
}

// measure starts the contestant's node and makes its figure.
func measure(ctx context.Context, p *lab.Program, o options, s scene) (f figure, err error) {
	f = figure{who: s.who, n: s.n}
	if s.node, err = s.open(ctx, p, s.dir); err != nil {
		return f, err
	}
	if s.wire, err = newWire(ctx, p, s.consul); err != nil {
		return f, err
	}
	before, err := lab.CPUTime(s.server)
	if err != nil {
		return f, err
	}
	began := time.Now()
	s.proc = s.node.start(p, s.wire.Addr)
	if err := s.await(ctx, coldLimit, 50*time.Millisecond, func() (bool, error) { return s.node.complete(s.n) }); err != nil {
		return f, fmt.Errorf("wait for all names: %w", err)
	}
	f.cold = time.Since(began)
	if f.start, err = s.spent(); err != nil {
		return f, err
	}
	f.start.consul -= before
	if _, err := s.once(ctx); err != nil { // nginx may have to learn of its servers first
		return f, err
	}
	if err := sleep(ctx, o.settle); err != nil {
		return f, err
	}
	if err := s.series(ctx, o, &f); err != nil {
		return f, err
	}
	if f.files, err = s.written(ctx, o, s.dir); err != nil {
		return f, err
	}
	if s.who == tlsfleetName {
		// What follows a change, as to see it served for a while, is not idle.
		if err := sleep(ctx, restful*o.settle); err != nil {
			return f, err
		}
		if f.idle, err = s.idle(ctx, o.idle); err != nil {
			return f, err
		}
	}
	if n, ok := s.node.(*tlsfleetNode); ok && n.http != "" {
		if err := n.read(ctx); err != nil {
			return f, err
		}
	}
	f.rss, f.peak, err = memory(s.proc.PID())
	return f, err
}

// taken is how long one change took, from Consul's answer.
type taken struct{ file, served time.Duration }

// once changes one certificate and waits until it is served.
func (s *scene) once(ctx context.Context) (t taken, err error) {
	l, err := s.stock.issue(nameOf(rand.IntN(s.n))) //nolint:gosec // no secret
	if err != nil {
		return t, err
	}
	if err := s.change(ctx, l); err != nil {
		return t, fmt.Errorf("change %s: %w", l.name, err)
	}
	answered := time.Now()
	if err := s.await(ctx, changeLimit, look, func() (bool, error) { return s.node.placed(l) }); err != nil {
		return t, fmt.Errorf("wait for the files of %s: %w", l.name, err)
	}
	t.file = time.Since(answered)
	if err := s.await(ctx, changeLimit, look, func() (bool, error) { return shows(ctx, s.node.addr(), l) }); err != nil {
		return t, fmt.Errorf("wait for nginx to serve %s: %w", l.name, err)
	}
	t.served = time.Since(answered)
	return t, nil
}

// series makes the changes that the figure's costs are of.
func (s *scene) series(ctx context.Context, o options, f *figure) error {
	began, sent := time.Now(), s.wire.read.Load()
	cpu, err := lab.CPUTime(s.proc.PID())
	if err != nil {
		return err
	}
	for len(f.taken) < o.changes && (len(f.taken) < fewest || time.Since(began) < o.limit) {
		start := time.Now()
		t, err := s.once(ctx)
		if err != nil {
			return err
		}
		f.taken = append(f.taken, t)
		// At any moment of whatever the contestant does from time to time.
		pause := o.every + rand.N(o.every/10+1) - time.Since(start) //nolint:gosec // no secret
		if err := sleep(ctx, max(pause, o.every/2)); err != nil {
			return err
		}
	}
	used, err := lab.CPUTime(s.proc.PID())
	f.bytes, f.cpu = s.wire.read.Load()-sent, used-cpu
	return err
}

// mtimeLag is more than what the kernel's clock for files is behind, a tick.
const mtimeLag = 20 * time.Millisecond

// written counts the files that one change writes: those that are younger.
func (s *scene) written(ctx context.Context, o options, dir string) (int, error) {
	before := time.Now()
	if err := sleep(ctx, mtimeLag); err != nil {
		return 0, err
	}
	t, err := s.once(ctx)
	if err != nil {
		return 0, err
	}
	// Other files may come after that of the changed name.
	n, last := 0, -1
	for pause := o.every + 2*t.file; n != last; pause = max(o.every, time.Second) {
		if err := sleep(ctx, pause); err != nil {
			return 0, err
		}
		last = n
		if n, err = younger(dir, before); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// younger counts the files below a folder that were written after a time.
func younger(dir string, than time.Time) (n int, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // collected meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // on its way to its place
		}
		if err == nil && info.ModTime().After(than) && filepath.Ext(d.Name()) != ".log" {
			n++
		}
		return err
	})
	return n, err
}

// idle is the share of a core that the contestant uses while nothing changes.
func (s *scene) idle(ctx context.Context, d time.Duration) (float64, error) {
	before, err := lab.CPUTime(s.proc.PID())
	if err != nil {
		return 0, err
	}
	if err := sleep(ctx, d); err != nil {
		return 0, err
	}
	after, err := lab.CPUTime(s.proc.PID())
	return (after - before).Seconds() / d.Seconds(), err
}

// await looks until the condition holds, the process ends or time is up.
func (s *scene) await(ctx context.Context, limit, every time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last error
	for {
		began := time.Now()
		ok, err := done()
		if ok {
			return nil
		}
		last = err
		if err := s.proc.Ended(); err != nil {
			return err
		}
		// Looking is not to take the time of what is looked at.
		if took := time.Since(began); took > every/4 {
			tick.Reset(4 * took)
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}

// shows reports whether nginx serves this certificate.
func shows(ctx context.Context, addr string, l leaf) (bool, error) {
	d := tls.Dialer{NetDialer: new(net.Dialer), Config: &tls.Config{ServerName: l.name, InsecureSkipVerify: true}} //nolint:gosec // the bytes are compared
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false, err
	}
	conn, ok := c.(*tls.Conn)
	same := ok && bytes.Equal(conn.ConnectionState().PeerCertificates[0].Raw, l.der)
	return same, c.Close()
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// percentile of durations, by the nearest rank.
func percentile(of []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

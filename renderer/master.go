package renderer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errNotRunning means that no nginx runs: no pid file, an empty one (nginx -t
// makes one), or one that names no process.
var errNotRunning = errors.New("nginx is not running")

// titleTime is how long a starting nginx may be without its title.
const titleTime = 2 * time.Second

// master finds the nginx master process. The error is errNotRunning, or wraps
// ErrNotNginx when the pid file names something else.
func (r *Renderer) master(ctx context.Context) (process, error) {
	text, err := os.ReadFile(r.cfg.PIDFile)
	if errors.Is(err, fs.ErrNotExist) {
		return process{}, errNotRunning
	}
	if err != nil {
		return process{}, fmt.Errorf("read pid of nginx: %w", err)
	}
	trimmed := strings.TrimSpace(string(text))
	if trimmed == "" {
		return process{}, errNotRunning
	}
	pid, err := strconv.Atoi(trimmed)
	if err != nil || pid <= 1 {
		return process{}, fmt.Errorf("read pid of nginx in %s: %w: %.40q", r.cfg.PIDFile, ErrNotNginx, trimmed)
	}
	p, err := r.started(ctx, pid)
	if errors.Is(err, fs.ErrNotExist) {
		return process{}, errNotRunning
	}
	if err != nil {
		return process{}, fmt.Errorf("look at nginx: %w", err)
	}
	if err := r.identify(ctx, p); err != nil {
		return process{}, err
	}
	return p, nil
}

// Running reports whether nginx runs, so that a release would reload it. What
// cannot be told apart is taken for running.
func (r *Renderer) Running(ctx context.Context) bool {
	_, err := r.master(ctx)
	return !errors.Is(err, errNotRunning)
}

// started reads a process. nginx writes its pid file a moment before it takes
// its title, so a process of our binary without one is looked at again.
func (r *Renderer) started(ctx context.Context, pid int) (p process, err error) {
	ctx, cancel := context.WithTimeout(ctx, titleTime)
	defer cancel()
	late := poll(ctx, lookEvery, func(context.Context) (bool, error) {
		if p, err = readProcess(pid); err != nil || strings.HasPrefix(p.title, "nginx: ") {
			return true, nil
		}
		return !r.runsBinary(pid), nil
	})
	if late != nil {
		r.cfg.Log.Debug("nginx has no title", "pid", pid, "err", late)
	}
	return p, err
}

// runsBinary reports whether a process runs a program named like our nginx.
func (r *Renderer) runsBinary(pid int) bool {
	_, ours, err := r.program(pid)
	return err == nil && ours
}

// identify refuses a process that is not the master of our nginx.
func (r *Renderer) identify(ctx context.Context, p process) error {
	refuse := func(why string) error {
		return fmt.Errorf("pid %d in %s is %.200q: %w: %s", p.pid, r.cfg.PIDFile, p.title, ErrNotNginx, why)
	}
	if !strings.HasPrefix(p.title, masterTitle) {
		return refuse("not an nginx master process")
	}
	program, ours, err := r.program(p.pid)
	if err != nil {
		return refuse(err.Error())
	}
	if !ours {
		return refuse("its program is " + program)
	}
	return r.checkConfigFile(ctx, p, refuse)
}

func (r *Renderer) checkConfigFile(ctx context.Context, p process, refuse func(string) error) error {
	given := argument(p.title, 'c')
	// A path with a space is more than one word of the title.
	if given == r.cfg.ConfigFile || strings.Contains(p.title+" ", " -c "+r.cfg.ConfigFile+" ") {
		return nil
	}
	if given != "" && filepath.IsAbs(given) {
		return refuse("it runs with " + given + ", not " + r.cfg.ConfigFile)
	}
	b, err := r.build(ctx)
	if err != nil {
		return refuse(err.Error())
	}
	prefix, err := p.prefix()
	if err != nil {
		return refuse(err.Error())
	}
	if prefix == "" {
		prefix = b.prefix
	}
	if given == "" {
		given = b.configFile
	}
	if !filepath.IsAbs(given) {
		given = filepath.Join(prefix, given)
	}
	if filepath.Clean(given) != r.cfg.ConfigFile {
		return refuse("it runs with " + given + ", not " + r.cfg.ConfigFile)
	}
	return nil
}

// argument finds the value of a one-letter option in nginx's title, whose
// arguments are joined by spaces: "-c FILE", "-cFILE"; "" if it is not there.
func argument(title string, option byte) string {
	words := strings.Fields(title)
	for i, w := range words {
		if len(w) < 2 || w[0] != '-' || w[1] != option {
			continue
		}
		if len(w) > 2 {
			return w[2:]
		}
		if i+1 < len(words) {
			return words[i+1]
		}
	}
	return ""
}

// reload sends HUP to a master found before. The handle is taken first and
// the process looked at again through it, so that a reused pid is never hit.
func (r *Renderer) reload(ctx context.Context, was process) error {
	err := signalProven(was.pid, syscall.SIGHUP, func(now process) error {
		if now.identity() != was.identity() {
			return errNotRunning
		}
		return r.identify(ctx, now)
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("reload pid %d: %w", was.pid, errNotRunning)
	}
	return err
}

// signalProven sends a signal to a process that passes the check.
func signalProven(pid int, sig syscall.Signal, check func(process) error) (err error) {
	handle, err := os.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("find process %d: %w", pid, err)
	}
	defer func() { err = errors.Join(err, handle.Release()) }()
	now, err := readProcess(pid)
	if err != nil {
		return fmt.Errorf("look at process %d: %w", pid, err)
	}
	if err := check(now); err != nil {
		return err
	}
	if err := handle.Signal(sig); err != nil {
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	return nil
}

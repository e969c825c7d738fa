package lab

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
)

// Program is the testkit.TB of a program: what is started for it ends with
// it, in reverse order, whether it succeeds, fails or is interrupted.
type Program struct {
	name string
	log  *log.Logger

	mu       sync.Mutex
	cleanups []func()
	err      error
}

// Main runs a program until it returns or gets SIGINT or SIGTERM, which ends
// ctx, cleans up and returns the exit status: 0, or 1 if run failed.
func Main(name string, run func(ctx context.Context, p *Program) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &Program{name: name, log: log.New(os.Stderr, "", 0)}
	if err := p.run(ctx, run); err != nil {
		p.Logf("%s: error: %v", name, err)
		return 1
	}
	return 0
}

// run calls run on a goroutine of its own, because Fatalf ends its goroutine.
func (p *Program) run(ctx context.Context, run func(context.Context, *Program) error) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer p.cleanUp()
		if err := run(ctx, p); err != nil {
			p.fail(err)
		}
	}()
	<-done
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Sub runs a part of the program with clean-up of its own at the part's end.
func (p *Program) Sub(ctx context.Context, name string, run func(ctx context.Context, p *Program) error) error {
	sub := &Program{name: p.name + "/" + name, log: p.log}
	if err := sub.run(ctx, run); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (p *Program) cleanUp() {
	for {
		p.mu.Lock()
		n := len(p.cleanups)
		if n == 0 {
			p.mu.Unlock()
			return
		}
		last := p.cleanups[n-1]
		p.cleanups = p.cleanups[:n-1]
		p.mu.Unlock()
		last()
	}
}

func (p *Program) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = errors.Join(p.err, err)
}

// Helper implements testkit.TB.
func (p *Program) Helper() {}

// Name implements testkit.TB.
func (p *Program) Name() string { return p.name }

// Failed reports whether the program has failed so far.
func (p *Program) Failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err != nil
}

// Cleanup calls f when the program ends.
func (p *Program) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}

// TempDir is a new folder that is removed at the end.
func (p *Program) TempDir() string {
	dir, err := os.MkdirTemp("", "tlsfleet-")
	if err != nil {
		p.Fatalf("make folder: %v", err)
	}
	p.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			p.Logf("remove folder: %v", err)
		}
	})
	return dir
}

// Logf writes a line to standard error.
func (p *Program) Logf(format string, args ...any) {
	p.log.Printf(format, args...)
}

// Fatalf ends the program, or the part, with an error and runs the clean-up.
// Only the goroutine of run may call it.
func (p *Program) Fatalf(format string, args ...any) {
	p.fail(fmt.Errorf(format, args...))
	runtime.Goexit()
}

package main

import (
	"fmt"
	"os"
	"runtime/pprof"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// cpu is the time that processors have spent for a process, in user and system
// mode together.
type cpu struct{ self, consul time.Duration }

func cpuNow(consul int) (c cpu, err error) {
	if c.self, err = lab.CPUTime(os.Getpid()); err != nil {
		return c, err
	}
	c.consul, err = lab.CPUTime(consul)
	return c, err
}

// profile writes a CPU profile until it is stopped.
func profile(path string) (stop func(), _ error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("write profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, fmt.Errorf("write profile: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "fanout: close profile: %v\n", err)
		}
	}, nil
}

package agent

import (
	"runtime"
	"sync"
)

// Processors are those that the Go code of this process runs on: all of them
// during bulk work, and one while its agent is idle, because goroutines that
// answer each other wake a thread for each step where there are several. The
// zero value decides nothing until its first use has ended; nil never does.
type Processors struct {
	mu   sync.Mutex
	uses int
}

// Use lets the process use all processors, as many as the Go runtime would by
// itself, until the end of each use has been called. It stops the process for a
// moment.
func (p *Processors) Use() (end func()) {
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.uses++; p.uses == 1 {
		runtime.SetDefaultGOMAXPROCS()
	}
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.uses--; p.uses == 0 {
			runtime.GOMAXPROCS(1)
		}
	})
}

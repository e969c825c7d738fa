package agent

import (
	"runtime"
	"sync"
)

// Processors are those that the Go code of this process runs on: one while its
// agent is idle, since goroutines that answer each other wake a thread for each
// step where there are several, and all of them during bulk work. The zero value
// is idle from its first use on; nil changes nothing.
type Processors struct {
	mu   sync.Mutex
	uses int
}

// Use lets the process use all processors, as many as the Go runtime would by
// itself, until every end has been called. To be called at the start as well:
// until then the runtime decides.
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

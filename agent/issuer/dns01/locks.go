package dns01

import (
	"context"
	"sync"
)

// locks let one challenge at a time use a record: some providers keep one value
// for a name, and throw the others away.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	room  chan struct{}
	users int
}

// take waits for its turn, and returns what ends it.
func (l *locks) take(ctx context.Context, name string) (release func(), err error) {
	l.mu.Lock()
	k, ok := l.held[name]
	if !ok {
		k = &lock{room: make(chan struct{}, 1)}
		l.held[name] = k
	}
	k.users++
	l.mu.Unlock()
	select {
	case k.room <- struct{}{}:
		return func() { <-k.room; l.leave(name, k) }, nil
	case <-ctx.Done():
		l.leave(name, k)
		return nil, context.Cause(ctx)
	}
}

func (l *locks) leave(name string, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, name)
	}
}

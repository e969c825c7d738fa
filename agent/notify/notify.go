package notify

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/go-hclog"
)

// Sink delivers one event once. An error means that it may be tried again.
type Sink interface {
	Send(ctx context.Context, e Event, body []byte) error
	String() string // for logs, without secrets
}

// Receiver is a sink and the kinds of events that it gets; none: all.
type Receiver struct {
	Sink  Sink
	Kinds []Kind
}

// Bounds of what waits for delivery, for each sink.
const (
	maxQueue  = 1000
	remember  = 10000            // ids of events that were told before
	firstWait = time.Second      // after a failed delivery
	mostWait  = 10 * time.Minute // the same, again and again
	giveUp    = 24 * time.Hour
	sendTime  = 15 * time.Second // for one delivery
)

// Notifier passes events to sinks. It is safe for concurrent use.
type Notifier struct {
	log   hclog.Logger
	lines []*line

	mu   sync.Mutex
	seen map[string]bool
	old  []string // ids in seen, the oldest first
}

// New is a notifier for some receivers; without any it does nothing.
func New(log hclog.Logger, receivers ...Receiver) *Notifier {
	n := &Notifier{log: log, seen: map[string]bool{}}
	for _, r := range receivers {
		n.lines = append(n.lines, &line{log: log.With("sink", r.Sink.String()), sink: r.Sink, kinds: r.Kinds, wake: make(chan struct{}, 1)})
	}
	return n
}

// Wants reports whether any receiver takes events of a kind.
func (n *Notifier) Wants(kind Kind) bool {
	return slices.ContainsFunc(n.lines, func(l *line) bool { return len(l.kinds) == 0 || slices.Contains(l.kinds, kind) })
}

// Notify takes an event and returns at once. An event with an ID that was taken
// before is left out.
func (n *Notifier) Notify(e Event) {
	if len(n.lines) == 0 || !n.fresh(e.ID) {
		return
	}
	body, err := e.encode()
	if err != nil {
		n.log.Error("event not told", "err", err)
		return
	}
	for _, l := range n.lines {
		if len(l.kinds) == 0 || slices.Contains(l.kinds, e.Kind) {
			l.put(letter{e, body, time.Now()})
		}
	}
}

func (n *Notifier) fresh(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen[id] {
		return false
	}
	n.seen[id] = true
	n.old = append(n.old, id)
	if len(n.old) > remember {
		delete(n.seen, n.old[0])
		n.old = n.old[1:]
	}
	return true
}

// Run delivers until ctx ends.
func (n *Notifier) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, l := range n.lines {
		all.Go(func() { l.run(ctx) })
	}
	all.Wait()
	return nil
}

// letter is an event on its way to one sink.
type letter struct {
	event Event
	body  []byte
	taken time.Time
}

// line is what waits for one sink.
type line struct {
	log   hclog.Logger
	sink  Sink
	kinds []Kind
	wake  chan struct{}

	mu    sync.Mutex
	queue []letter
	lost  int // left out because the queue was full
}

// put adds a letter; of too many, the oldest goes.
func (l *line) put(x letter) {
	l.mu.Lock()
	l.queue = append(l.queue, x)
	if len(l.queue) > maxQueue {
		l.queue = l.queue[1:]
		l.lost++
		if l.lost == 1 {
			l.log.Error("events left out, the receiver is too slow", "queue", maxQueue)
		}
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *line) first() (letter, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return letter{}, false
	}
	x := l.queue[0]
	l.queue = l.queue[1:]
	return x, true
}

// run delivers one letter after the other: their order is kept.
func (l *line) run(ctx context.Context) {
	for ctx.Err() == nil {
		x, ok := l.first()
		if ok {
			l.deliver(ctx, x)
			continue
		}
		select {
		case <-ctx.Done():
		case <-l.wake:
		}
	}
}

// deliver tries until the letter is delivered or too old.
func (l *line) deliver(ctx context.Context, x letter) {
	wait := &backoff.ExponentialBackOff{InitialInterval: firstWait, MaxInterval: mostWait, Multiplier: 2, RandomizationFactor: 0.5}
	wait.Reset()
	send := func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, sendTime)
		defer cancel()
		return struct{}{}, l.sink.Send(ctx, x.event, x.body)
	}
	_, err := backoff.Retry(ctx, send, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(max(giveUp-time.Since(x.taken), firstWait)),
		backoff.WithNotify(func(err error, next time.Duration) {
			l.log.Warn("event not delivered", "id", x.event.ID, "kind", string(x.event.Kind), "next", next, "err", err)
		}))
	if err != nil && ctx.Err() == nil {
		l.log.Error("event given up", "id", x.event.ID, "kind", string(x.event.Kind), "err", err)
	}
}

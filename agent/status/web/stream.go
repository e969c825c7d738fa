package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of the stream.
const (
	maxStreams  = 64
	streamQueue = 64               // events that a client may lag behind
	streamPast  = 50               // events that a new client is told of
	writeTime   = 5 * time.Second  // a client that takes longer is dropped
	beat        = 15 * time.Second // a sign of life, which also finds clients that have gone
)

// Event is something that changed in the fleet.
type Event struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"` // ring, reload, certificates, problem, solved, node, leader; look: nothing to tell, look again
	Severity string    `json:"severity,omitempty"`
	Node     string    `json:"node,omitempty"`
	Text     string    `json:"text,omitempty"`
}

// streams hands events to clients that stay (Server-Sent Events, WHATWG HTML,
// section 9.2).
type streams struct {
	began int64
	first chan struct{} // has one when the first client has come

	mu     sync.Mutex
	closed bool
	last   int
	past   []Event
	open   map[chan Event]bool
}

func newStreams() *streams {
	return &streams{began: time.Now().UnixMilli(), first: make(chan struct{}, 1), open: map[chan Event]bool{}}
}

// join is the events before and those to come; nil if there are too many clients.
func (s *streams) join() ([]Event, chan Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.open) >= maxStreams {
		return nil, nil
	}
	ch := make(chan Event, streamQueue)
	s.open[ch] = true
	if len(s.open) == 1 {
		select {
		case s.first <- struct{}{}:
		default: // has not been seen yet
		}
	}
	return append([]Event(nil), s.past...), ch
}

func (s *streams) leave(ch chan Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[ch] {
		delete(s.open, ch)
		close(ch)
	}
}

// count is how many clients there are.
func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// tell gives an event to every client, and drops those that lag too far behind.
func (s *streams) tell(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	e.ID = strconv.FormatInt(s.began, 36) + "-" + strconv.Itoa(s.last)
	if e.Kind != kindLook {
		s.past = append(s.past, e)
		s.past = s.past[max(0, len(s.past)-streamPast):]
	}
	for ch := range s.open {
		select {
		case ch <- e:
		default:
			delete(s.open, ch)
			close(ch)
		}
	}
}

// end lets all clients go.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for ch := range s.open {
		delete(s.open, ch)
		close(ch)
	}
}

func (s *streams) serve(w http.ResponseWriter, r *http.Request) {
	past, ch := s.join()
	if ch == nil {
		w.Header().Set("Retry-After", "30")
		w.Header().Set("Connection", "close")
		answer(w, http.StatusServiceUnavailable, problem{fmt.Sprintf("%d streams are open already: ask for /v1/fleet instead", maxStreams)})
		return
	}
	defer s.leave(ch)
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return
	}
	c := client{w, http.NewResponseController(w)}
	text := "retry: 5000\n\n"
	known := r.Header.Get("Last-Event-ID")
	for i, e := range past {
		if e.ID == known {
			past = past[i+1:]
			break
		}
	}
	for _, e := range past {
		text += e.text()
	}
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for c.send(text) {
		select {
		case e, ok := <-ch:
			if !ok {
				return
			}
			text = e.text()
		case <-tick.C:
			text = ": alive\n\n"
		case <-r.Context().Done():
			return
		}
	}
}

// text is the event as the stream has it. JSON has no line ends of its own.
func (e Event) text() string {
	body, err := json.Marshal(e)
	if err != nil {
		return ""
	}
	return "id: " + e.ID + "\ndata: " + strings.TrimSpace(string(body)) + "\n\n"
}

// client is the other end of a stream.
type client struct {
	w http.ResponseWriter
	c *http.ResponseController
}

// send reports whether the client has taken it in time.
func (c client) send(text string) bool {
	if err := c.c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return false
	}
	if _, err := c.w.Write([]byte(text)); err != nil {
		return false
	}
	return c.c.Flush() == nil
}

package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// MaxWatchInput is the largest input in bytes that ParseWatch reads: Consul
// buffers 256 events of at most 512 bytes each; the rest is JSON.
const MaxWatchInput = 1 << 20

// ErrWatchInput is returned for input that is not what a Consul event watch
// writes.
var ErrWatchInput = errors.New("not the input of a consul event watch")

// watchEvent is one element of what `consul watch -type=event` writes to its
// handler. encoding/json undoes the base64 around Payload.
type watchEvent struct {
	ID      string
	Name    string
	Payload []byte
	LTime   uint64
}

// ParseWatch reads what a Consul watch of type event writes to its handler:
// a JSON list, empty at the start, with the whole buffer after a reload. The
// error wraps ErrWatchInput.
func ParseWatch(data []byte) ([]fleet.Event, error) {
	if len(data) > MaxWatchInput {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrWatchInput, len(data), MaxWatchInput)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, fmt.Errorf("%w: it is empty: run this as the handler of `consul watch -type=event`", ErrWatchInput)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	var list []watchEvent
	if err := dec.Decode(&list); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWatchInput, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the list", ErrWatchInput)
	}
	events := make([]fleet.Event, 0, len(list))
	for i, e := range list {
		if e.ID == "" || e.Name == "" {
			return nil, fmt.Errorf("%w: event %d has no ID or no Name", ErrWatchInput, i)
		}
		events = append(events, fleet.Event{ID: e.ID, Name: e.Name, Payload: e.Payload, LTime: e.LTime})
	}
	return events, nil
}

package notify

import (
	"encoding/json"
	"fmt"
	"time"
)

// Kind says what has happened.
type Kind string

// The kinds.
const (
	Issued   Kind = "certificate.issued"
	Renewed  Kind = "certificate.renewed"
	Failed   Kind = "certificate.failed"   // will be tried again
	Parked   Kind = "certificate.parked"   // will not, before somebody does something
	Expiring Kind = "certificate.expiring" // and nobody renews it
	Problem  Kind = "node.problem"         // an alarm in a node's report
)

// Event is one thing that has happened. Its ID is the same however often it is
// told, so that receivers can leave out what they have.
type Event struct {
	ID    string            `json:"id"`
	Kind  Kind              `json:"kind"`
	Fleet string            `json:"fleet"`
	At    time.Time         `json:"at"`
	Names []string          `json:"names,omitempty"` // of the certificate
	Facts map[string]string `json:"facts,omitempty"` // class, next, not_after, code, ...
}

// maxEvent bounds an event in bytes.
const maxEvent = 64 << 10

func (e Event) encode() ([]byte, error) {
	body, err := json.Marshal(e)
	if err == nil && len(body) > maxEvent {
		err = fmt.Errorf("%d bytes, at most %d", len(body), maxEvent)
	}
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	return body, nil
}

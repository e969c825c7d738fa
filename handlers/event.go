package handlers

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

// Names of the Consul events that tlsfleet acts on.
const (
	// EventRotate asks for a rotation. Its payload is empty, or the name of
	// the one fleet that is meant.
	EventRotate = "tlsfleet-rotate-ticket"
	// EventRefresh carries a ticket key made outside: 48 or 80 bytes, once or
	// twice in base64.
	EventRefresh = "ssl-session-ticket-refresh"
)

// EventNames lists the events that ReadEvent knows.
func EventNames() []string { return []string{EventRotate, EventRefresh} }

// ErrEventKeysOff is returned for an event that carries a key while the
// configuration does not accept such keys.
var ErrEventKeysOff = errors.New("keys from events are not accepted")

// Request is what one event asks for.
type Request struct {
	ID    string       // EventID of the event
	Adopt bool         // use Key; else make a fresh one
	Key   fleet.Secret // checked; only with Adopt
	LTime uint64
	Seen  time.Time // when this node first saw the event
}

// EventID is the short, bounded form of a Consul event id by which rings and
// nodes remember it: 16 hexadecimal digits of its SHA-256.
func EventID(e fleet.Event) string {
	sum := sha256.Sum256([]byte(e.Name + "\x00" + e.ID))
	return hex.EncodeToString(sum[:8])
}

// ReadEvent turns an event into a request; ok is false for an event that is
// meant for nobody here. The error says why an event that is meant for this
// fleet cannot be acted on: it wraps ErrEventKeysOff or ticket.ErrKey.
func ReadEvent(e fleet.Event, fleetName string, acceptKeys bool, now time.Time) (req Request, ok bool, err error) {
	req = Request{ID: EventID(e), LTime: e.LTime, Seen: now}
	switch e.Name {
	case EventRotate:
		return req, len(e.Payload) == 0 || string(e.Payload) == fleetName, nil
	case EventRefresh:
		if !acceptKeys {
			return req, true, fmt.Errorf("read event %s: %w: set accept_event_keys = true in the ticket block to adopt them", e.Name, ErrEventKeysOff)
		}
		key, err := ticket.DecodePayload(e.Payload)
		if err != nil {
			return req, true, fmt.Errorf("read event %s: %w", e.Name, err)
		}
		req.Adopt, req.Key = true, key
		return req, true, nil
	default:
		return req, false, nil
	}
}

// split sorts the requests that the ring has not acted on into those for a
// fresh key and the newest one for a key from outside. ids holds, for each
// sort, every request that acting on it settles.
func split(r fleet.Ring, reqs []Request) (rotate, adopt *Request, rotateIDs, adoptIDs []string) {
	for i := range reqs {
		q := &reqs[i]
		if r.Acted(q.ID) {
			continue
		}
		if q.Adopt {
			adoptIDs = append(adoptIDs, q.ID)
			if adopt == nil || q.LTime > adopt.LTime {
				adopt = q
			}
			continue
		}
		rotateIDs = append(rotateIDs, q.ID)
		if rotate == nil || q.Seen.Before(rotate.Seen) {
			rotate = q
		}
	}
	return rotate, adopt, rotateIDs, adoptIDs
}

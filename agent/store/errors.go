package store

import "errors"

// Errors that callers branch on.
var (
	ErrMissing      = errors.New("no such record in Consul")                  // nothing there; never a deletion
	ErrConflict     = errors.New("somebody else changed the record first")    // nothing written
	ErrFenced       = errors.New("the session does not hold the leader lock") // nothing written
	ErrRecord       = errors.New("record refused")                            // wraps the cause from seal or ticket
	ErrSchema       = errors.New("made by a newer tlsfleet")
	ErrDenied       = errors.New("the Consul token does not allow it")
	ErrNameTaken    = errors.New("another agent uses the same node name")
	ErrUnregistered = errors.New("not registered with the local Consul agent")
)

package lab

import "time"

// Outcome is how one connection that offered a ticket ended.
type Outcome uint8

// The outcomes of a connection.
const (
	Full    Outcome = iota // no ticket was offered: a client's first connection
	Resumed                // the ticket was accepted
	Lost                   // the ticket was refused: a full handshake instead
	Broken                 // no handshake, or no answer after it
)

// Attempt is one connection of a client.
type Attempt struct {
	At      time.Time     // when the handshake was over, or failed
	Version uint16        // tls.VersionTLS12 or tls.VersionTLS13
	Held    time.Duration // how long the client had kept the ticket
	Outcome Outcome
	Serial  string // of the certificate shown, in hexadecimal digits; empty without a handshake
	Ticket  bool   // a new ticket came with the answer
	Err     error  // why it is Broken
}

// Counts is a number of attempts by outcome.
type Counts struct {
	Attempts int // connections that offered a ticket and got a handshake: resumed and lost
	Resumed  int
	Lost     int
	Broken   int
	Full     int
}

// Add counts one attempt.
func (c *Counts) Add(a Attempt) {
	switch a.Outcome {
	case Full:
		c.Full++
	case Resumed:
		c.Attempts++
		c.Resumed++
	case Lost:
		c.Attempts++
		c.Lost++
	case Broken:
		c.Broken++
	}
}

// Percent is the share of attempts that were resumed, 0 to 100; 100 if there
// were none.
func (c Counts) Percent() float64 {
	if c.Attempts == 0 {
		return 100
	}
	return 100 * float64(c.Resumed) / float64(c.Attempts)
}

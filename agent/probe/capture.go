package probe

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// capture is a tls.ClientSessionCache that keeps the newest session of one
// connection and offers one given before. One connection is used by one
// goroutine, so it needs no lock.
type capture struct {
	offer   *tls.ClientSessionState
	session *tls.ClientSessionState
}

// Get implements tls.ClientSessionCache.
func (c *capture) Get(string) (*tls.ClientSessionState, bool) { return c.offer, c.offer != nil }

// Put implements tls.ClientSessionCache. A nil session withdraws an offer that
// the server refused.
func (c *capture) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		c.session = s
	}
}

// errCaptured ends the wait for a ticket.
var errCaptured = errors.New("ticket captured")

// gate is a connection that, while waiting, reads no further than to a ticket.
type gate struct {
	net.Conn
	cache   *capture
	waiting bool
}

// Read implements net.Conn.
func (g *gate) Read(b []byte) (int, error) {
	if g.waiting && g.cache.session != nil {
		return 0, errCaptured
	}
	return g.Conn.Read(b)
}

// minTicket is the least a sealed ticket can have: key name, initialization
// vector, one cipher block and HMAC-SHA256 (RFC 5077, section 4).
const minTicket = fleet.KeyNameSize + 16 + 16 + 32

// keyName is the name of the key that sealed the session's ticket: its first
// 16 bytes (RFC 5077, section 4). With tickets off OpenSSL sends session ids of
// 32 random bytes as TLS 1.3 tickets, which no key has sealed.
func keyName(s *tls.ClientSessionState) (fleet.KeyName, error) {
	var name fleet.KeyName
	ticket, _, err := s.ResumptionState()
	if err != nil {
		return name, fmt.Errorf("read session ticket: %w", err)
	}
	if len(ticket) < minTicket {
		return name, fmt.Errorf("read session ticket: its %d bytes are a session id that no key sealed: %s", len(ticket), ticketsHint)
	}
	copy(name[:], ticket)
	return name, nil
}

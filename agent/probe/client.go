package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// proxyHeader is a PROXY protocol header, version 1, for a connection of the
// sender's own: the listener takes the addresses of the socket (PROXY protocol
// specification, section 2.1).
const proxyHeader = "PROXY UNKNOWN\r\n"

// client is one handshake with one listener in one version of TLS.
type client struct {
	listener fleet.Listener
	version  uint16
	timeout  time.Duration           // for all of it
	offer    *tls.ClientSessionState // session to resume; nil for a full handshake
	leaf     bool                    // only the certificate is looked at, in any version from 1.2
	ask      bool                    // and the answer to a request
}

// result is what a handshake left.
type result struct {
	session *tls.ClientSessionState // nil if none was waited for
	resumed bool                    // the listener took the offered session
	leaf    []byte                  // DER, if it was asked for
	answer  Answer                  // if it was asked for
}

// shake dials and shakes hands. Without an offer it also waits for a ticket,
// and its absence is an error. The error says what to do.
func (c client) shake(ctx context.Context) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, c.listener.Network, c.listener.Address)
	if err != nil {
		return result{}, fmt.Errorf("%w: %w: see that nginx runs and listens there", ErrNoAnswer, err)
	}
	// Ends reads and writes, which know no context.
	interrupted := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { interrupted <- raw.SetDeadline(time.Now()) })
	res, err := c.talk(ctx, raw)
	if !stop() {
		err = errors.Join(err, <-interrupted)
	}
	// Without close_notify: there is nothing that could be truncated.
	if cerr := raw.Close(); err != nil {
		return result{}, errors.Join(err, cerr)
	}
	return res, nil
}

// talk is shake on an open connection.
func (c client) talk(ctx context.Context, raw net.Conn) (result, error) {
	if c.listener.ProxyProto {
		if _, err := raw.Write([]byte(proxyHeader)); err != nil {
			return result{}, fmt.Errorf("send PROXY header: %w", err)
		}
	}
	cache := &capture{offer: c.offer}
	gate := &gate{Conn: raw, cache: cache}
	conn := tls.Client(gate, c.config(cache))
	if err := conn.HandshakeContext(ctx); err != nil {
		return result{}, c.explain(ctx, err)
	}
	state := conn.ConnectionState()
	if c.ask {
		a, err := c.get(ctx, conn)
		return result{leaf: state.PeerCertificates[0].Raw, answer: a}, err
	}
	if c.leaf {
		return result{leaf: state.PeerCertificates[0].Raw}, nil
	}
	if c.offer != nil {
		return result{resumed: state.DidResume}, nil
	}
	var end error
	if c.version == tls.VersionTLS13 {
		end = awaitTicket(conn, gate)
	}
	if cache.session == nil {
		return result{}, c.explainNoTicket(ctx, end)
	}
	return result{session: cache.session}, nil
}

func (c client) config(cache *capture) *tls.Config {
	var suites []uint16
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		suites = append(suites, s.ID)
	}
	minimum, maximum := c.version, c.version
	if c.leaf {
		minimum, maximum = tls.VersionTLS12, 0
	}
	return &tls.Config{
		// The certificate proves nothing here: what is looked at is the ticket, or
		// which one is shown, on a socket of this host, and no data follows.
		InsecureSkipVerify: true, //nolint:gosec // G402: see above
		ServerName:         c.listener.ServerName,
		MinVersion:         minimum,
		MaxVersion:         maximum,
		// Whatever the listener is configured for: its ciphers are not in question.
		CipherSuites:       suites,
		ClientSessionCache: cache,
	}
}

// awaitTicket reads until the gate stops it with a ticket captured, or the
// connection ends. In TLS 1.3 tickets come after the handshake (RFC 8446,
// section 4.6.1); nginx sends them at once.
func awaitTicket(conn *tls.Conn, gate *gate) error {
	gate.waiting = true
	buf := make([]byte, 1024)
	for {
		if _, err := conn.Read(buf); err != nil {
			return err
		}
	}
}

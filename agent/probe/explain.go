package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// TLS alerts that say more than that the handshake failed (RFC 8446, section 6).
const (
	alertProtocolVersion  tls.AlertError = 70
	alertInternalError    tls.AlertError = 80
	alertUnrecognizedName tls.AlertError = 112
)

const ticketsHint = "see that ssl_session_tickets is not off in the default server of this socket"

// isAlert reports whether the listener ended the handshake with this alert.
// crypto/tls returns alerts of a type of its own, with the text of AlertError.
func isAlert(err error, alert tls.AlertError) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && op.Err.Error() == alert.Error()
}

// explain adds to the error of a handshake what to do about it.
func (c client) explain(ctx context.Context, err error) error {
	var plain tls.RecordHeaderError
	hint := "see the error log of nginx"
	switch {
	case isAlert(err, alertProtocolVersion):
		return err // not a fault: the version is not spoken
	case ctx.Err() != nil:
		return fmt.Errorf("shake hands: %w within %s: see that nginx is not overloaded and that something speaks TLS there: %w",
			ErrNoAnswer, c.timeout, ctx.Err())
	case isAlert(err, alertUnrecognizedName) && c.listener.ServerName == "":
		hint = "give a server on this socket a server_name that it can be asked for"
	case isAlert(err, alertUnrecognizedName):
		hint = fmt.Sprintf("no server on this socket serves %s", c.listener.ServerName)
	case isAlert(err, alertInternalError):
		hint = "nginx could not load the certificate, see its error log"
	case errors.As(err, &plain):
		hint = "there is no TLS on this socket"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		hint = "if the socket expects proxy_protocol, say so in its listen"
	}
	return fmt.Errorf("shake hands: %w: %s", err, hint)
}

// explainNoTicket is the error of a handshake after which no ticket came; end
// is how the wait for it ended, nil if there was none.
func (c client) explainNoTicket(ctx context.Context, end error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("wait for session ticket: none within %s: %s: %w", c.timeout, ticketsHint, ctx.Err())
	case end != nil:
		return fmt.Errorf("wait for session ticket: %w: %s", end, ticketsHint)
	}
	return errors.New("wait for session ticket: the handshake ended without one: " + ticketsHint)
}

package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Answer is what a server says to a GET of /.
type Answer struct {
	Status int
	Own    bool // an error of nginx's own: 502 or 504, which a backend may have answered too, or with its page
}

// mostBody is how much of an answer is read.
const mostBody = 4 << 10

// Answer shakes hands with a listener for its ServerName, as Leaf does, and asks
// for / by HTTP/1.1.
func (p *Prober) Answer(ctx context.Context, l fleet.Listener) (Answer, error) {
	res, err := client{listener: l, timeout: p.timeout(), leaf: true, ask: true}.shake(ctx)
	return res.answer, err
}

// get asks for / on a connection whose handshake is done.
func (c client) get(ctx context.Context, conn *tls.Conn) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.listener.ServerName+"/", nil)
	if err != nil {
		return Answer{}, fmt.Errorf("ask for /: %w", err)
	}
	req.Header.Set("User-Agent", "tlsfleet-probe")
	req.Close = true
	if err := req.Write(conn); err != nil {
		return Answer{}, fmt.Errorf("ask for /: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w within %s", ErrNoAnswer, c.timeout)
		}
		return Answer{}, fmt.Errorf("ask for /: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	a := Answer{Status: resp.StatusCode, Own: resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusGatewayTimeout}
	if a.Status >= 500 && !a.Own {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, mostBody)) //nolint:errcheck // what there is of it
		a.Own = bytes.Contains(body, []byte("<center>nginx"))
	}
	return a, nil
}

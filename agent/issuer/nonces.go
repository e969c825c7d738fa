package issuer

import (
	"net/http"
	"regexp"
	"sync"
	"time"
)

// nonceHeader carries a nonce for a later request (RFC 8555, section 6.5.1).
const nonceHeader = "Replay-Nonce"

// Bounds of what is kept. What has lain for longer the CA may have forgotten,
// and then each costs a request.
const (
	mostNonces = 128
	nonceLife  = time.Minute
)

// noncePool has the nonces that a CA has given and nobody has used, the newest last.
// lego would keep them too, but it sees none of an answer that is an error,
// badNonce's own for one, and goes through all that it has while they are too
// old.
type noncePool struct {
	mu   sync.Mutex
	kept []nonce
}

type nonce struct {
	value string
	given time.Time
}

var nonceText = regexp.MustCompile(`^[A-Za-z0-9_-]{1,512}$`)

// keep takes the nonce out of an answer's header, if there is one.
func (n *noncePool) keep(h http.Header, now time.Time) {
	value := h.Get(nonceHeader)
	h.Del(nonceHeader)
	if !nonceText.MatchString(value) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.kept) < mostNonces {
		n.kept = append(n.kept, nonce{value, now})
	}
}

// take hands out the newest nonce.
func (n *noncePool) take(now time.Time) (value string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := len(n.kept) - 1
	if last < 0 {
		return "", false
	}
	if now.Sub(n.kept[last].given) > nonceLife {
		n.kept = nil
		return "", false
	}
	value = n.kept[last].value
	n.kept = n.kept[:last]
	return value, true
}

// answer is what a CA says to a HEAD of its newNonce (RFC 8555, section 7.2).
func (n *noncePool) answer(req *http.Request, now time.Time) (*http.Response, bool) {
	value, ok := n.take(now)
	if !ok {
		return nil, false
	}
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Request: req, Body: http.NoBody,
		Header: http.Header{nonceHeader: {value}},
	}, true
}

package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// certificatesPath is what the path of every request for a certificate begins
// with; the name follows.
const certificatesPath = "/v1/certificates/"

// maxConns is how many connections of nginx's workers are served at a time;
// more wait.
const maxConns = 512

// retryAfter is how long a client should wait for a certificate that cannot be
// had now.
const retryAfter = time.Second

// What a Certificates answers besides a certificate. Any other error is that
// of this host.
var (
	// ErrNoCertificate means that the fleet has none for the name, or that it
	// is no name.
	ErrNoCertificate = errors.New("no certificate for this name")
	// ErrNotNow means that there may be one, and that it cannot be had now.
	ErrNotNow = errors.New("certificate not available now")
	// ErrUnusable means that what the fleet has for the name cannot be served.
	ErrUnusable = errors.New("certificate not usable")
)

// Certificates finds what serves a name, as a client's SNI or a person spells
// it: its own certificate, else that of the wildcard one label above. If that
// is the bundle which the caller has, only Name and Bundle need to be set.
type Certificates interface {
	Certificate(ctx context.Context, name string, have fleet.Hash) (Certificate, error)
}

// Certificate is one certificate with its private key.
type Certificate struct {
	Name      string // of the inventory: a wildcard, where that serves
	Bundle    fleet.Hash
	NotAfter  time.Time
	Fullchain []byte       // PEM, the leaf first
	Key       fleet.Secret // PEM
}

// ServeCertificates answers GET /v1/certificates/<name>, and nothing else, on a
// unix socket for the group with the id gid, until ctx ends. Members of the
// group and root can read every private key that this node may serve.
func ServeCertificates(ctx context.Context, path string, gid int, certs Certificates) error {
	l, err := listen(ctx, path, gid)
	if err != nil {
		return err
	}
	return serve(ctx, path, netutil.LimitListener(l, maxConns), gatewayOr(certificates(certs), http.NotFoundHandler()))
}

// gatewayOr sends requests for certificates to one handler and all others to
// another. A ServeMux would redirect names such as "..", which are for the
// gateway to refuse.
func gatewayOr(gateway, others http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, certificatesPath) {
			gateway.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})
}

// certificates answers with one certificate: as JSON if the client accepts
// that, else as PEM, leaf, chain and key.
func certificates(certs Certificates) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store") // it has a private key
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			answer(w, http.StatusMethodNotAllowed, problem{"want GET"})
			return
		}
		known := etags(r.Header.Values("If-None-Match"))
		var have fleet.Hash
		if len(known) > 0 {
			have = known[0]
		}
		c, err := certs.Certificate(r.Context(), strings.TrimPrefix(r.URL.Path, certificatesPath), have)
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("ETag", `"`+c.Bundle.String()+`"`)
		w.Header().Set("Vary", "Accept")
		if slices.Contains(known, c.Bundle) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		kind, body, err := encode(c, strings.Contains(r.Header.Get("Accept"), "application/json"))
		if err != nil {
			refuse(w, err)
			return
		}
		defer clear(body)
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if _, err := w.Write(body); err != nil { //nolint:gosec // PEM or JSON, never HTML
			return // the client has gone
		}
	})
}

// refuse answers without a certificate. A client that has one may go on with
// it unless the code is 404.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, ErrNoCertificate):
		code = http.StatusNotFound
	case errors.Is(err, ErrUnusable):
		code = http.StatusBadGateway
	case errors.Is(err, ErrNotNow):
		code = http.StatusServiceUnavailable
	}
	if code != http.StatusNotFound {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	answer(w, code, problem{err.Error()})
}

// encode is the body of an answer. The caller clears it: it has the key.
func encode(c Certificate, asJSON bool) (kind string, body []byte, err error) {
	key := c.Key.Reveal()
	defer clear(key)
	if !asJSON {
		return "application/x-pem-file", append(slices.Clone(c.Fullchain), key...), nil
	}
	body, err = json.Marshal(struct {
		Name      string     `json:"name"`
		Bundle    fleet.Hash `json:"bundle"`
		NotAfter  time.Time  `json:"not_after"`
		Fullchain string     `json:"fullchain"`
		Key       string     `json:"key"`
	}{c.Name, c.Bundle, c.NotAfter, string(c.Fullchain), string(key)})
	if err != nil {
		return "", nil, fmt.Errorf("encode certificate: %w", err)
	}
	return "application/json", append(body, '\n'), nil
}

// etags are the bundles that a client says it has (RFC 9110, section 13.1.2).
// "*" is none of them: it would keep the certificate from who has nothing.
func etags(headers []string) []fleet.Hash {
	var known []fleet.Hash
	for _, h := range headers {
		for tag := range strings.SplitSeq(h, ",") {
			tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
			if hash, err := fleet.ParseHash(strings.Trim(tag, `"`)); err == nil {
				known = append(known, hash)
			}
		}
	}
	return known
}

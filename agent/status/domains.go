package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/netutil"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// domainsPath is what the path of every request about certificates to be
// obtained begins with.
const domainsPath = "/v1/domains"

// Bounds of what one request about certificates may ask for.
const (
	MaxDomains     = 10_000  // certificates, or names
	maxDomainsBody = 8 << 20 // bytes
	domainsPage    = 1000    // certificates in an answer, if the client does not say
)

// domainsAtOnce is how many requests about certificates are worked on at a time;
// more wait, as long as domainsTime.
const (
	domainsAtOnce = 4
	domainsTime   = 2 * time.Minute
)

// What a Domains answers besides an answer. Any other error is that of Consul or
// of this host.
var (
	// ErrBadDomains means that a request cannot be meant.
	ErrBadDomains = errors.New("request not usable")
	// ErrNoDomain means that no certificate is obtained for a name.
	ErrNoDomain = errors.New("no certificate is obtained for this name")
	// ErrNoCA means that this fleet obtains no certificates.
	ErrNoCA = errors.New("no CA is configured")
)

// Domains are the certificates that the leader obtains.
type Domains interface {
	// DoDomains has the leader do something with certificates; the results are in
	// the order of the wishes, one for each. Wishes for anything but Add have one
	// name, and no group or profile.
	DoDomains(ctx context.Context, do issuance.Verb, wishes []issuance.Wish, by string) ([]DomainResult, error)
	// ListDomains is one page of what is obtained, to be written as JSON.
	ListDomains(ctx context.Context, q DomainQuery) (any, error)
	// ShowDomain is what is known about the certificate of a name, to be written
	// as JSON.
	ShowDomain(ctx context.Context, name string) (any, error)
}

// DomainQuery chooses certificates; its zero value chooses none, because of Limit.
type DomainQuery struct {
	Match string // a part of one of the names
	State issuance.State
	Group string
	After string // first name of the last certificate of the page before
	Limit int    // certificates at most
}

// DomainResult is what became of one wish.
type DomainResult struct {
	Names  []string `json:"names"` // of the certificate; as they were given, if it is not known
	Result Fate     `json:"result"`
	Error  string   `json:"error,omitempty"`
}

// Fate is what became of a wish.
type Fate string

// The fates.
const (
	FateAdded   Fate = "added"      // taken in by the leader, just now
	FateKnown   Fate = "known"      // asked for before; nothing changed
	FateTaken   Fate = "taken"      // a name belongs to another certificate
	FateBegun   Fate = "begun"      // retry, renew: tried now
	FateAlone   Fate = "left-alone" // retry, renew: its state does not call for it
	FateRemoved Fate = "removed"
	FateUnknown Fate = "unknown" // no certificate is obtained for the name
	FateRefused Fate = "refused" // it cannot be used
	FateFailed  Fate = "failed"  // the leader could not
)

// domainRequest is the body of every request that changes something; add takes
// Certificates or Names, the others take Names.
type domainRequest struct {
	Certificates    []issuance.Wish `json:"certificates"`
	Names           []string        `json:"names"` // one certificate each
	KeepCertificate bool            `json:"keep_certificate"`
}

// ServeDomains answers below /v1/domains, and nothing else, on a unix socket until
// ctx ends. The socket belongs to group, if one is named; its members and root can
// have certificates obtained, renewed and removed.
func ServeDomains(ctx context.Context, path, group string, d Domains) error {
	gid, err := GroupID(group)
	if err != nil {
		return fmt.Errorf("serve %s: %w", path, err)
	}
	l, err := listen(ctx, path, gid)
	if err != nil {
		return err
	}
	return serve(ctx, path, netutil.LimitListener(l, maxConns), domains(d))
}

// domains answers below domainsPath.
func domains(d Domains) http.Handler {
	mux := http.NewServeMux()
	slots := make(chan struct{}, domainsAtOnce)
	route := func(pattern string, ask func(ctx context.Context, w http.ResponseWriter, r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), domainsTime)
			defer cancel()
			body, err := patiently(ctx, slots, w, func() (any, error) { return ask(ctx, w, r) })
			if err != nil {
				refuseDomains(w, err)
				return
			}
			answer(w, http.StatusOK, body)
		})
	}
	route("GET "+domainsPath, func(ctx context.Context, _ http.ResponseWriter, r *http.Request) (any, error) {
		q, err := domainQuery(r)
		if err != nil {
			return nil, err
		}
		return d.ListDomains(ctx, q)
	})
	route("GET "+domainsPath+"/{name}", func(ctx context.Context, _ http.ResponseWriter, r *http.Request) (any, error) {
		return d.ShowDomain(ctx, r.PathValue("name"))
	})
	for path, verb := range map[string]issuance.Verb{
		"POST " + domainsPath: issuance.Add, "POST " + domainsPath + "/retry": issuance.Retry, "POST " + domainsPath + "/renew": issuance.Renew, "POST " + domainsPath + "/remove": issuance.Remove,
	} {
		route(path, func(ctx context.Context, w http.ResponseWriter, r *http.Request) (any, error) {
			do, wishes, err := readDomains(w, r, verb)
			if err != nil {
				return nil, err
			}
			results, err := d.DoDomains(ctx, do, wishes, peer(r))
			return map[string][]DomainResult{"results": results}, err
		})
	}
	return mux
}

// patiently gives a request the time it may take, and calls work when it is its
// turn.
func patiently(ctx context.Context, slots chan struct{}, w http.ResponseWriter, work func() (any, error)) (any, error) {
	c := http.NewResponseController(w)
	end := time.Now().Add(domainsTime + 10*time.Second)
	if err := errors.Join(c.SetReadDeadline(end), c.SetWriteDeadline(end)); err != nil {
		return nil, err
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
		return work()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a turn: %w", ctx.Err())
	}
}

// readDomains reads what is asked for.
func readDomains(w http.ResponseWriter, r *http.Request, verb issuance.Verb) (issuance.Verb, []issuance.Wish, error) {
	var body domainRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxDomainsBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrBadDomains, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return "", nil, fmt.Errorf("%w: something follows the JSON object", ErrBadDomains)
	}
	switch {
	case len(body.Certificates) > 0 && verb != issuance.Add:
		return "", nil, fmt.Errorf(`%w: give "names": the certificate of each is meant`, ErrBadDomains)
	case body.KeepCertificate && verb != issuance.Remove:
		return "", nil, fmt.Errorf(`%w: "keep_certificate" is for remove`, ErrBadDomains)
	case body.KeepCertificate:
		verb = issuance.Forget
	}
	wishes := body.Certificates
	for _, name := range body.Names {
		wishes = append(wishes, issuance.Wish{Names: []string{name}})
	}
	if len(wishes) == 0 || len(wishes) > MaxDomains {
		return "", nil, fmt.Errorf("%w: %d certificates, want 1 to %d", ErrBadDomains, len(wishes), MaxDomains)
	}
	return verb, wishes, nil
}

// domainQuery reads which certificates are to be listed.
func domainQuery(r *http.Request) (DomainQuery, error) {
	q := DomainQuery{Limit: domainsPage}
	for key, values := range r.URL.Query() {
		if len(values) != 1 {
			return q, fmt.Errorf("%w: %q is given twice", ErrBadDomains, key)
		}
		value := values[0]
		switch key {
		case "match":
			q.Match = value
		case "state":
			q.State = issuance.State(value)
		case "group":
			q.Group = value
		case "after":
			q.After = value
		case "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > MaxDomains {
				return q, fmt.Errorf("%w: limit %q, want 1 to %d", ErrBadDomains, value, MaxDomains)
			}
			q.Limit = n
		default:
			return q, fmt.Errorf("%w: unknown parameter %q: match, state, group, after and limit are known", ErrBadDomains, key)
		}
	}
	if q.State != "" && !q.State.Known() {
		return q, fmt.Errorf("%w: unknown state %q", ErrBadDomains, string(q.State))
	}
	return q, nil
}

// laterDomains is how long a client should wait that found no leader, or no
// Consul.
const laterDomains = 15 * time.Second

// refuseDomains answers with an error.
func refuseDomains(w http.ResponseWriter, err error) {
	code := http.StatusServiceUnavailable
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		code = http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrBadDomains):
		code = http.StatusBadRequest
	case errors.Is(err, ErrNoDomain):
		code = http.StatusNotFound
	case errors.Is(err, ErrNoCA):
		code = http.StatusNotImplemented
	default:
		w.Header().Set("Retry-After", strconv.Itoa(int(laterDomains.Seconds())))
	}
	answer(w, code, problem{err.Error()})
}

package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/consul"
)

// ErrOpen means that Consul runs without access control.
var ErrOpen = errors.New("access control is off in Consul")

// Ask is one question about the token: may it do this to that?
type Ask struct {
	Resource string
	Segment  string `json:",omitempty"`
	Access   string // "read", "write"; for keys also "list" and "write-prefix"
}

// String names it in a message: `key "tlsfleet/edge/tickets/ring" write`.
func (a Ask) String() string {
	if a.Segment == "" {
		return a.Resource + " " + a.Access
	}
	return fmt.Sprintf("%s %q %s", a.Resource, a.Segment, a.Access)
}

// Asks is what shows whether a token has a right. Whether it has one on all
// that begins with something can be asked for keys only, for the others by
// a name that nobody else has a rule for.
func (r Right) Asks() []Ask {
	switch {
	case r.Resource == "key" && r.Prefix && r.Policy == "write":
		return []Ask{{"key", r.Segment, "write-prefix"}, {"key", r.Segment, "list"}}
	case r.Prefix:
		return []Ask{{r.Resource, r.Segment + anyName, r.Policy}}
	}
	return []Ask{{r.Resource, r.Segment, r.Policy}}
}

// anyName stands for any name in a question about a prefix.
const anyName = "tlsfleet-doctor"

// TooWide is what the token of nobody here needs: with one of these whoever
// has it can take over more than this node.
func (h Holder) TooWide() []Ask {
	asks := []Ask{
		{"acl", "", "write"},
		{"operator", "", "write"},
		{"keyring", "", "read"},
		{"session", anyName, "write"},
		{"agent", anyName, "write"},
		{"node", anyName, "write"},
		{"key", anyName, "write"},
		{"key", root + anyName + "/" + ringPath, "read"},
		{"key", root + h.Fleet + "/", "write-prefix"},
		{"service", anyName, "write"},
	}
	for _, name := range h.Events {
		asks = append(asks, Ask{"event", name, "write"})
	}
	if h.Role != RoleOperator {
		asks = append(asks, Ask{"key", root + h.Fleet + "/" + grantPath(anyName), "write"})
	}
	if h.Role != RoleLeader {
		asks = append(asks, Ask{"key", root + h.Fleet + "/" + accountPath, "read"})
	}
	if h.Role == RoleAgent {
		for _, path := range []string{leaderPath, ringPath, headPath, reportsPath + anyName} {
			asks = append(asks, Ask{"key", root + h.Fleet + "/" + path, "write"})
		}
	}
	return asks
}

// authorizePath answers what a token may do. The UI of Consul asks it too; it
// takes POST only, which consul/api has no general call for.
const authorizePath = "/v1/internal/acl/authorize"

// maxAsks is how many questions Consul takes at once.
const maxAsks = 64

// Allowed returns those of the questions that Consul answers with yes. Nothing
// is tried out. ErrOpen if there is no access control, ErrDenied if Consul does
// not know the token.
func (s *Store) Allowed(ctx context.Context, asks []Ask) (map[Ask]bool, error) {
	allowed := map[Ask]bool{}
	for part := range slices.Chunk(asks, maxAsks) {
		var answers []struct {
			Ask
			Allow bool
		}
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		_, err := s.client.Raw().Write(authorizePath, part, &answers, new(api.WriteOptions).WithContext(ctx))
		cancel()
		if err != nil {
			if consul.Status(err) == http.StatusUnauthorized && strings.Contains(err.Error(), "ACL support disabled") {
				err = errors.Join(ErrOpen, err)
			}
			return nil, fmt.Errorf("ask Consul what the token may do: %w", denied(err))
		}
		for _, a := range answers {
			if a.Allow {
				allowed[a.Ask] = true
			}
		}
	}
	return allowed, nil
}

// postTransport sends the questions as Consul wants them.
type postTransport struct{ next http.RoundTripper }

func (t postTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPut || req.URL.Path != authorizePath {
		return t.next.RoundTrip(req)
	}
	own := req.Clone(req.Context())
	own.Method = http.MethodPost
	return t.next.RoundTrip(own)
}

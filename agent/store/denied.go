package store

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/tlsfleet/tlsfleet/agent/consul"
)

// denied adds ErrDenied to Consul's answer 403, and to one that was shortened
// to what the token may read.
func denied(err error) error {
	if consul.Status(err) == http.StatusForbidden || errors.Is(err, consul.ErrFiltered) {
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}

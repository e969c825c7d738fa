package store

import (
	"fmt"
	"net/http"

	"github.com/tlsfleet/tlsfleet/agent/consul"
)

// denied adds ErrDenied to Consul's answer 403.
func denied(err error) error {
	if consul.Status(err) == http.StatusForbidden {
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}

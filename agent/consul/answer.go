package consul

import (
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// Why an answer says nothing about what exists.
var (
	ErrNoLeader = errors.New("the answer names no Consul leader")
	ErrFiltered = errors.New("the Consul token may not read all of it")
)

// Vouched returns an error if what is missing from an answer may exist all the
// same: the answer was given without a leader or by something that is not
// Consul (ErrNoLeader), or shortened to what the token may read (ErrFiltered).
// Consul does not say so to a client without a token.
func Vouched(meta *api.QueryMeta) error {
	switch {
	case !meta.KnownLeader:
		return ErrNoLeader
	case meta.ResultsFilteredByACLs:
		return ErrFiltered
	}
	return nil
}

// Status is the HTTP status in an error of consul/api, or 0.
func Status(err error) int {
	if e, ok := errors.AsType[api.StatusError](err); ok {
		return e.Code
	}
	return 0
}

// Also is err and then more on one line, as logs want it; either may be nil.
func Also(err, more error) error {
	switch {
	case err == nil:
		return more
	case more == nil:
		return err
	}
	return fmt.Errorf("%w; %w", err, more)
}

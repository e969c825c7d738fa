package main

import (
	"context"
	"errors"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

func tlsfleet(ctx context.Context, s *scene) (func(context.Context) error, error) {
	return nil, errors.New("not yet")
}

func prove(ctx context.Context, p *lab.Program, o options) error { return nil }

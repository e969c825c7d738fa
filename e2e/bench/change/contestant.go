package main

import (
	"context"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// contestant brings certificates from Consul into files of an nginx that reads
// them at each handshake, in its own way.
type contestant interface {
	// seed writes many certificates into Consul.
	seed(ctx context.Context, leaves []leaf) error
	// change writes one, and returns when Consul has answered.
	change(ctx context.Context, l leaf) error
	// open makes empty folders in dir and an nginx that reads from them.
	open(ctx context.Context, p *lab.Program, dir string) (node, error)
}

// node is one host of a contestant.
type node interface {
	// start starts the contestant's process, which talks to Consul at addr.
	start(p *lab.Program, addr string) *lab.Process
	// complete reports whether all of n names are in place for the first time.
	complete(n int) (bool, error)
	// placed reports whether this certificate is in place under its final name.
	placed(l leaf) (bool, error)
	// addr is where nginx listens.
	addr() string
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// copySize is large, so that a contestant that reads hundreds of megabytes is
// not held up.
const copySize = 256 << 10

// wire is the way from a contestant to Consul: a TCP proxy on loopback that
// counts what Consul sends.
type wire struct {
	Addr string
	read atomic.Int64 // bytes
}

// newWire makes one that ends with p.
func newWire(ctx context.Context, p *lab.Program, to string) (*wire, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("make wire: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	w := &wire{Addr: ln.Addr().String()}
	var open sync.WaitGroup
	p.Cleanup(func() {
		stop()
		if err := ln.Close(); err != nil {
			p.Logf("end wire: %v", err)
		}
		open.Wait()
	})
	open.Go(func() {
		for {
			from, err := ln.Accept()
			if err != nil {
				return // closed
			}
			open.Go(func() {
				if err := w.carry(ctx, from, to); err != nil && ctx.Err() == nil {
					p.Logf("wire: %v", err)
				}
			})
		}
	})
	return w, nil
}

// carry serves one connection until one of its ends closes it or ctx ends.
func (w *wire) carry(ctx context.Context, from net.Conn, to string) error {
	server, err := new(net.Dialer).DialContext(ctx, "tcp", to)
	if err != nil {
		return errors.Join(err, from.Close())
	}
	end := sync.OnceValue(func() error { return errors.Join(from.Close(), server.Close()) })
	stop := context.AfterFunc(ctx, func() { _ = end() }) //nolint:errcheck // told below
	defer stop()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(server, from) //nolint:errcheck // either end may close at any time
		_ = end()                    //nolint:errcheck // told below
	})
	_, _ = io.CopyBuffer(struct{ io.Writer }{from}, counted{server, &w.read}, make([]byte, copySize)) //nolint:errcheck // as above
	err = end()
	up.Wait()
	return err
}

// counted counts what is read.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

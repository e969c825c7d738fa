package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// sampled is how many of many names are looked at on each node.
const sampled = 100

// perName is how long all nodes may take for one more name, on a slow disk
// that they share.
const perName = 30 * time.Millisecond

// manyNames shows an import of very many names, and a renewal among them.
func (s *stage) manyNames(ctx context.Context) error {
	before, err := s.workers(ctx)
	if err != nil {
		return err
	}
	certs, dir, err := s.issueMany(ctx)
	if err != nil {
		return err
	}
	if err := s.importMany(ctx, certs, dir); err != nil {
		return err
	}
	name := certs[len(certs)/2].Names[0]
	w := s.startWatch(ctx, name, s.ca.Roots, func(_ int, a lab.Attempt) { s.board.recordCert(a) })
	defer w.stop()
	if _, err := s.awaitShown(ctx, w, certs[len(certs)/2].Serial); err != nil {
		return err
	}
	if err := s.bring(ctx, w, "A renewal among them costs what it costs among one.", 1); err != nil {
		return err
	}
	if err := sleep(ctx, look+s.options.splay); err != nil {
		return err
	}
	return s.unreloaded(ctx, before)
}

// issueMany makes the certificates and writes them as one folder.
func (s *stage) issueMany(ctx context.Context) (certs []lab.Certificate, dir string, err error) {
	s.board.say("\nNow %d names with a certificate each.", s.options.names)
	dir = s.p.TempDir()
	key, err := lab.NewKey() // one for all: making keys is no part of the show
	if err != nil {
		return nil, "", err
	}
	for i := range s.options.names {
		c, err := s.ca.Issue(key, lifetime(0), fmt.Sprintf("c%05d.test", i))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, c.Names[0]+".pem"), c.PEM, 0o600)
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return nil, "", fmt.Errorf("make certificates: %w", err)
		}
		certs = append(certs, c)
		if done := i + 1; done%max(1, s.options.names/10) == 0 {
			s.board.doing(fmt.Sprintf("made %d of %d certificates", done, s.options.names))
		}
	}
	return certs, dir, nil
}

// importMany imports the folder and waits until every node has all names.
func (s *stage) importMany(ctx context.Context, certs []lab.Certificate, dir string) error {
	s.board.say("\n$ tlsfleet cert import customers/")
	start := time.Now()
	said, err := s.agents.Import(ctx, s.board.doing, dir)
	if err != nil {
		return err
	}
	took := time.Since(start)
	limit := awaitLimit + time.Duration(len(certs))*perName
	if err := s.awaitFor(ctx, limit, "all names on all nodes", func() (bool, error) {
		status, err := s.agents.Status(ctx)
		return status.Followed(len(certs)+1) == nodes, err // and shop
	}); err != nil {
		return err
	}
	s.board.say("%s\nExit 0 after %.1f s; all nodes have all names after %.1f s.", strings.TrimSpace(said), took.Seconds(), time.Since(start).Seconds())
	return s.lookAt(ctx, certs)
}

// lookAt makes handshakes for some of the names on each node.
func (s *stage) lookAt(ctx context.Context, certs []lab.Certificate) error {
	for i := range s.fleet.Nodes {
		for j := range min(sampled, len(certs)) {
			c := certs[j*len(certs)/min(sampled, len(certs))]
			a := lab.NewClient(tlsVersion(j), c.Names[0], s.ca.Roots, s.fleet.Direct(i)).Connect(ctx)
			s.board.recordCert(a)
			if a.Serial != c.Serial {
				return fmt.Errorf("connect to %s on node%d: certificate %q, want %s: %w", c.Names[0], i+1, a.Serial, c.Serial, a.Err)
			}
		}
	}
	s.board.say("%d of them, spread over all, are shown by each node.", min(sampled, len(certs)))
	return nil
}

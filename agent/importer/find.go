package importer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Bounds of one search.
const (
	MaxFile         = 1 << 20 // bytes of a file
	MaxFiles        = 1 << 20 // files and folders looked at
	MaxCertificates = 200_000
	maxDepth        = 8  // folders below a given one
	maxParts        = 32 // files of one certificate
)

// Why there is nothing to import.
var (
	// ErrTooMany ends a search: one of its bounds is reached.
	ErrTooMany = errors.New("too much to import at once")
	// ErrNothing refuses a path where no certificate was found.
	ErrNothing = errors.New("no certificate found")
	// ErrNoKey refuses a certificate without a key.
	ErrNoKey = errors.New("no private key for the certificate, neither in the file nor beside it")
	// ErrNoCertificate refuses a key without a certificate.
	ErrNoCertificate = errors.New("no certificate for the private key, neither in the file nor beside it")
	// ErrNoPassword refuses a PKCS#12 file when there is nobody to ask.
	ErrNoPassword = errors.New("it needs a password")
)

// Options of a search. The zero value is fine.
type Options struct {
	// Password is asked for a PKCS#12 file that neither the empty password nor
	// one that opened an earlier file opens. nil: nobody is asked.
	Password func(path string) (fleet.Secret, error)
	// Progress is told, one call at a time, how many of the certificates to
	// read are read. May be nil.
	Progress func(done, total int)
	// MaxFiles is MaxFiles if 0.
	MaxFiles int
}

// Found is a certificate that was read. It is not checked (bundle.Check).
type Found struct {
	Bundle bundle.Bundle
	Path   string // of the file with the certificate
	Key    string // path of the file with the key; often the same
}

// Refused is a file or folder that gave no certificate, and why.
type Refused struct {
	Path string
	Err  error
}

// Find reads the certificates at the paths, which name files or folders, in
// the order of the paths and of the names below them, each certificate once.
//
// The files of one certificate have one stem ("a.crt", "a.key",
// "a.issuer.crt") or the usual names without one (fullchain.pem, privkey.pem);
// the only key of a folder belongs to its only certificate. A certificate given
// by its file brings its key and its chain from beside it, and a file given
// with a key from elsewhere is paired with that. In a folder only files with
// the usual extensions are looked at, and PEM is taken before PKCS#12 of the
// same stem. Symbolic links are followed.
//
// What cannot be used is refused by itself and never keeps others from being
// found. The error is for what ends the search: ErrTooMany or that of ctx.
func Find(ctx context.Context, paths []string, o Options) ([]Found, []Refused, error) {
	if o.MaxFiles == 0 {
		o.MaxFiles = MaxFiles
	}
	s := &search{limit: o.MaxFiles, visited: map[string]bool{}, folders: map[string][]group{}}
	groups, err := s.plan(ctx, paths)
	if err != nil {
		return nil, nil, fmt.Errorf("find certificates: %w", err)
	}
	if len(groups) > MaxCertificates {
		return nil, nil, fmt.Errorf("find certificates: %w: %d certificates, at most %d", ErrTooMany, len(groups), MaxCertificates)
	}
	results, err := readAll(ctx, groups, o)
	if err != nil {
		return nil, nil, fmt.Errorf("find certificates: %w", err)
	}
	found, refused := collect(groups, results)
	return found, append(refused, s.refusals(paths, groups, results)...), nil
}

// readAll reads the groups, several at a time.
func readAll(ctx context.Context, groups []group, o Options) ([]result, error) {
	results := make([]result, len(groups))
	r := &reader{passwords: passwords{ask: o.Password}}
	done := make(chan struct{}, 64)
	told := make(chan struct{})
	go func() {
		defer close(told)
		n := 0
		for range done {
			if n++; o.Progress != nil {
				o.Progress(n, len(groups))
			}
		}
	}()
	var next atomic.Int64
	workers, ctx := errgroup.WithContext(ctx)
	for range max(1, min(runtime.GOMAXPROCS(0), len(groups))) {
		workers.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(groups); i = int(next.Add(1)) - 1 {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				results[i] = r.read(groups[i])
				done <- struct{}{}
			}
			return nil
		})
	}
	err := workers.Wait()
	close(done)
	<-told
	return results, err
}

// collect puts the results together: each certificate once, each chain once in
// memory.
func collect(groups []group, results []result) (found []Found, refused []Refused) {
	seen := map[fleet.Hash]bool{}
	chains := map[fleet.Hash][][]byte{}
	for i := range groups {
		for _, f := range results[i].found {
			hash := bundle.Hash(f.Bundle)
			if seen[hash] {
				continue
			}
			seen[hash] = true
			chain := bundle.ChainHash(f.Bundle.Chain)
			if _, known := chains[chain]; !known {
				chains[chain] = f.Bundle.Chain
			}
			f.Bundle.Chain = chains[chain]
			found = append(found, f)
		}
		refused = append(refused, results[i].refused...)
	}
	return found, refused
}

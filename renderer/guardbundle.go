package renderer

import (
	"bytes"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// maxPEM bounds a file of a bundle that is read, in bytes.
const maxPEM = 1 << 20

// CheckBundle says what of a bundle in the store is not as PutBundle left it.
// Its files are compared with its hash, so that neither memory nor Consul is
// needed. Where certificate and key are sound in spite of edits, whole is the
// bundle, to be put once more.
func (r *Renderer) CheckBundle(hash fleet.Hash) (edits []Edit, whole *bundle.Bundle) {
	dir := r.cfg.bundleDir(hash)
	gid := r.knownGroup()
	if e := access(dir, gid, 0o710, true); e != nil {
		e.Exposes = false // the files have modes of their own
		edits = append(edits, *e)
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
			return edits, nil
		}
	}
	edits = append(edits, extras(dir, fullchainFile, privkeyFile, rootDir)...)
	edits = append(edits, extras(filepath.Join(dir, rootDir))...)
	if e := access(filepath.Join(dir, rootDir), gid, 0o750, true); e != nil {
		e.Exposes = false
		edits = append(edits, *e)
	}
	chain, key := filepath.Join(dir, fullchainFile), filepath.Join(dir, privkeyFile)
	if e := access(chain, gid, 0o644, false); e != nil {
		e.Exposes = false
		edits = append(edits, *e)
	}
	if e := access(key, gid, 0o640, false); e != nil {
		edits = append(edits, *e)
	}
	b, ok := readBundle(chain, key)
	if ok && bundle.Hash(b) == hash {
		return edits, &b
	}
	return append(edits, Edit{Path: dir, What: "changed", Content: true}), nil
}

// knownGroup is that of nginx's workers, -1 if it is not yet known.
func (r *Renderer) knownGroup() int {
	r.certs.Lock()
	defer r.certs.Unlock()
	if r.group == nil {
		return -1
	}
	return *r.group
}

// extras lists what a folder has besides some names.
func extras(dir string, names ...string) []Edit {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // told by its own check
	}
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	var edits []Edit
	for _, e := range entries {
		if !known[e.Name()] {
			edits = append(edits, Edit{Path: filepath.Join(dir, e.Name()), What: "not made by tlsfleet", Content: true})
		}
	}
	return edits
}

// readBundle reads a pair of files back. Links are not followed.
func readBundle(chain, key string) (b bundle.Bundle, ok bool) {
	for _, path := range []string{chain, key} {
		if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Size() > maxPEM {
			return b, false
		}
	}
	certs, err := os.ReadFile(chain)
	if err != nil {
		return b, false
	}
	secret, err := os.ReadFile(key)
	defer clear(secret)
	if err != nil {
		return b, false
	}
	if b, err = bundle.FromFiles(certs, secret); err != nil {
		return b, false
	}
	again := bundle.KeyPEM(b).Reveal()
	defer clear(again)
	return b, bytes.Equal(bundle.FullchainPEM(b), certs) && bytes.Equal(again, secret)
}

// HasBundle reports whether there is a folder for the bundle in the store.
func (r *Renderer) HasBundle(hash fleet.Hash) bool {
	var st unix.Stat_t
	return unix.Lstat(r.cfg.bundleDir(hash), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

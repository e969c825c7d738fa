package importer

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
)

// result is what became of a group.
type result struct {
	found   []Found
	refused []Refused
}

func (r *result) add(b bundle.Bundle, cert, key string, err error) {
	if err != nil {
		if key != cert {
			err = fmt.Errorf("with the key in %s: %w", key, err)
		}
		r.refuse(cert, err)
		return
	}
	r.found = append(r.found, Found{Bundle: b, Path: cert, Key: key})
}

func (r *result) refuse(path string, err error) {
	r.refused = append(r.refused, Refused{Path: path, Err: err})
}

// reader reads groups. Its methods may be called concurrently.
type reader struct{ passwords passwords }

// parts are the files of one group by what is in them.
type parts struct {
	certs, keys, both, pkcs12 []content
}

func (r *reader) read(g group) result {
	var res result
	if len(g.files) > maxParts {
		res.refuse(g.files[0].path, fmt.Errorf("%w: %d files of one certificate", ErrTooMany, len(g.files)))
		return res
	}
	p := sortOut(g, &res)
	for _, c := range p.both {
		res.add(c.bundle(p.certs))
	}
	switch {
	case len(p.certs) > 0 && len(p.keys) > 0:
		res.add(pair(p.certs, p.keys))
	case len(p.keys) > 0:
		p.keyAlone(&res)
	case len(p.certs) > 0:
		p.certAlone(&res)
	}
	for _, c := range p.pkcs12 {
		if c.given || len(p.both) == 0 && (len(p.certs) == 0 || len(p.keys) == 0) {
			b, err := r.passwords.open(c.path, c.data)
			res.add(b, c.path, c.path, err)
		}
	}
	return res
}

// sortOut reads the files. Those with something else in them are passed over,
// unless they were given by themselves.
func sortOut(g group, res *result) parts {
	var p parts
	for _, f := range g.files {
		data, err := readFile(f.path)
		if err != nil {
			res.refuse(f.path, err)
			continue
		}
		switch c := inspect(f, data); {
		case c.pkcs12:
			p.pkcs12 = append(p.pkcs12, c)
		case c.certs > 0 && c.keys > 0:
			p.both = append(p.both, c)
		case c.certs > 0:
			p.certs = append(p.certs, c)
		case c.keys > 0:
			p.keys = append(p.keys, c)
		case f.given:
			_, err := bundle.FromPEM(data, nil)
			res.refuse(f.path, err)
		}
	}
	return p
}

// bundle reads a file that has certificate and key. A leaf alone takes its
// chain from beside it.
func (c content) bundle(beside []content) (bundle.Bundle, string, string, error) {
	data := c.data
	if c.certs == 1 {
		for _, o := range beside {
			if o.role == roleChain {
				data = join(data, o)
			}
		}
	}
	b, err := bundle.FromPEM(data, c.data)
	return b, c.path, c.path, err
}

// pair reads a certificate that has its key in another file: first the file
// that has the whole chain by its name, then all others together. Of the
// refusals it tells the last.
func pair(certs, keys []content) (b bundle.Bundle, cert, key string, err error) {
	for _, candidate := range candidates(certs) {
		for _, k := range keys {
			cert, key = candidate.path, k.path
			if b, err = bundle.FromPEM(candidate.data, k.data); err == nil {
				return b, cert, key, nil
			}
		}
	}
	return b, cert, key, err
}

// candidates are the certificates to try, the best first. The path of several
// files is that of the leaf by its name.
func candidates(certs []content) []content {
	var list, others []content
	for _, c := range certs {
		if c.role == roleFull {
			list = append(list, c)
		} else {
			others = append(others, c)
		}
	}
	if len(others) == 0 || len(list) > 0 && allChain(others) {
		return list
	}
	var all content
	for i, c := range others {
		if i == 0 || all.role == roleChain && c.role != roleChain {
			all.file = c.file
		}
	}
	if len(others) == 1 {
		all.data = others[0].data
		return append(list, all)
	}
	for _, c := range others {
		all.data = join(all.data, c)
	}
	return append(list, all)
}

func allChain(certs []content) bool {
	for _, c := range certs {
		if c.role != roleChain {
			return false
		}
	}
	return true
}

// join appends the certificates of a file in PEM.
func join(data []byte, c content) []byte {
	data = append(bytes.Clone(data), '\n')
	if c.pem {
		return append(data, c.data...)
	}
	certs, err := x509.ParseCertificates(c.data)
	if err != nil {
		return append(data, "-----BEGIN CERTIFICATE-----\n"...) // which is refused as damaged
	}
	for _, x := range certs {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw})...)
	}
	return data
}

// keyAlone refuses keys, unless they belong to a PKCS#12 file of their name.
func (p parts) keyAlone(res *result) {
	for _, k := range p.keys {
		if k.given || len(p.both)+len(p.pkcs12)+len(res.refused) == 0 {
			res.refuse(k.path, ErrNoCertificate)
		}
	}
}

// certAlone refuses certificates, unless they are chains for others, or in a
// folder certificates of CAs only.
func (p parts) certAlone(res *result) {
	if len(p.both)+len(p.pkcs12) > 0 {
		return
	}
	for _, c := range p.certs {
		err := ErrNoKey
		switch _, readErr := bundle.FromPEM(c.data, nil); {
		case errors.Is(readErr, bundle.ErrFormat), errors.Is(readErr, bundle.ErrSize):
			err = readErr
		case !c.given && c.onlyCAs():
			continue
		}
		res.refuse(c.path, err)
	}
}

// onlyCAs reports whether no certificate in the file is a server's.
func (c content) onlyCAs() bool {
	rest := c.data
	if !c.pem {
		certs, err := x509.ParseCertificates(rest)
		return err == nil && certs[0].IsCA
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return true
		}
		if x, err := x509.ParseCertificate(block.Bytes); err == nil && !x.IsCA {
			return false
		}
	}
}

package importer

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
)

// content is a file with what is in it.
type content struct {
	file
	data        []byte
	certs, keys int
	pkcs12, pem bool
}

// readFile reads a regular file of at most MaxFile bytes. It does not wait for
// the writer of a pipe.
func readFile(path string) (data []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the files
	if err != nil {
		var pathErr *os.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err // the path is told anyway
		}
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	data, err = io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(data) > MaxFile {
		return nil, fmt.Errorf("%w: file of more than %d bytes", bundle.ErrSize, MaxFile)
	}
	return data, err
}

// inspect says what is in a file. A damaged part counts as what it claims to
// be: reading it tells what is wrong.
func inspect(f file, data []byte) content {
	c := content{file: f, data: data}
	const begin = "-----BEGIN "
	if c.pem = bytes.Contains(data, []byte(begin)); !c.pem {
		c.inspectDER()
		return c
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		_, kind, found := strings.Cut(line, begin)
		switch {
		case !found:
		case strings.Contains(kind, "PRIVATE KEY"):
			c.keys++
		case strings.Contains(kind, "CERTIFICATE") && !strings.Contains(kind, "REQUEST"):
			c.certs++
		}
	}
	return c
}

func (c *content) inspectDER() {
	if c.pkcs12 = c.role == rolePKCS12 || bundle.IsPKCS12(c.data); c.pkcs12 {
		return
	}
	if certs, err := x509.ParseCertificates(c.data); err == nil && len(certs) > 0 {
		c.certs = len(certs)
		return
	}
	if c.role == roleKey || isKey(c.data) {
		c.keys = 1
		return
	}
	c.certs = 1 // and bundle.FromPEM says that it is none
}

func isKey(der []byte) bool {
	_, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		_, err = x509.ParseECPrivateKey(der)
	}
	if err != nil {
		_, err = x509.ParsePKCS1PrivateKey(der)
	}
	return err == nil
}

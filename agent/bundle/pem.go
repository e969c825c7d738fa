package bundle

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
)

// maxInput is the largest file that is read, in bytes.
const maxInput = 1 << 20

// begin starts the first line of a PEM block (RFC 7468, section 2).
const begin = "-----BEGIN "

// FromPEM reads a certificate with its chain, and its key, each as PEM
// (RFC 7468) or DER. Text between PEM blocks, CR LF and any order of the
// certificates are fine; an empty key is looked for in cert. The key may be in
// PKCS#8, PKCS#1 or SEC 1.
//
// The leaf is the certificate that the key belongs to; the others are put in
// order by issuer, and roots among them are left out. A certificate that has no
// place in that chain is an error. An issuer that is missing at the end is for
// Check to judge. Errors wrap ErrBundle and never show the key.
func FromPEM(cert, key []byte) (Bundle, error) {
	b, err := fromPEM(cert, key)
	if err != nil {
		return Bundle{}, fmt.Errorf("read certificate: %w", err)
	}
	return b, nil
}

func fromPEM(cert, key []byte) (Bundle, error) {
	if len(key) == 0 {
		key = cert
	}
	certs, err := readCertificates(cert)
	if err != nil {
		return Bundle{}, err
	}
	k, err := readKey(key)
	if err != nil {
		return Bundle{}, err
	}
	return assemble(certs, k)
}

// readCertificates returns the certificates of a file in its order, at least
// one.
func readCertificates(file []byte) ([]*x509.Certificate, error) {
	blocks, err := readBlocks(file)
	if err != nil {
		return nil, err
	}
	if blocks == nil {
		certs, err := x509.ParseCertificates(file)
		if err != nil || len(certs) == 0 {
			return nil, fmt.Errorf("%w: neither PEM nor a certificate in DER", ErrFormat)
		}
		return certs, nil
	}
	var certs []*x509.Certificate
	for i, b := range blocks {
		if b.Type != "CERTIFICATE" && b.Type != "X509 CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: PEM block %d: %w", ErrFormat, i+1, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%w: no certificate among its PEM blocks: %s", ErrFormat, types(blocks))
	}
	return certs, nil
}

// readBlocks returns every PEM block, or nil if the file is not PEM. It
// refuses a file with a damaged block, which pem.Decode would pass over: the
// chain would be one certificate short.
func readBlocks(file []byte) ([]*pem.Block, error) {
	if len(file) > maxInput {
		return nil, fmt.Errorf("%w: file of %d bytes, at most %d", ErrSize, len(file), maxInput)
	}
	if !bytes.Contains(file, []byte(begin)) {
		return nil, nil
	}
	text := strings.TrimPrefix(string(file), "\ufeff")
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	lines := strings.Split(text, "\n")
	want := 0
	for i, l := range lines {
		lines[i] = strings.Trim(l, " \t")
		if strings.HasPrefix(lines[i], begin) {
			want++
		}
	}
	var blocks []*pem.Block
	for rest := []byte(strings.Join(lines, "\n")); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		blocks = append(blocks, b)
	}
	if len(blocks) != want || want == 0 {
		return nil, fmt.Errorf("%w: %d of %d PEM blocks are damaged", ErrFormat, max(want, 1)-len(blocks), max(want, 1))
	}
	return blocks, nil
}

// types names the kinds of the blocks for an error.
func types(blocks []*pem.Block) string {
	var names []string
	for _, b := range blocks {
		if name := fmt.Sprintf("%.40q", b.Type); !slices.Contains(names, name) && len(names) < 5 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

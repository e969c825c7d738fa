package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/google/renameio/v2"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
)

// ErrExists means that a file is there which an export would overwrite.
var ErrExists = errors.New("exists already")

// CertificateExport is what was exported.
type CertificateExport struct {
	CertificateDetail
	Fullchain string `json:"fullchain"` // path
	Key       string `json:"privkey"`   // path
}

// ExportCertificate writes the certificate that serves a name (Certificate)
// into a folder, which is made if it is missing: fullchain.pem, and
// privkey.pem, mode 0600. Files that are there are kept (ErrExists), or with
// overwrite replaced by a rename each.
func (c *Console) ExportCertificate(ctx context.Context, name, dir string, overwrite bool) (CertificateExport, error) {
	d, b, err := c.certificate(ctx, name)
	if err != nil {
		return CertificateExport{}, err
	}
	out := CertificateExport{d, filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem")}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return CertificateExport{}, fmt.Errorf("export certificate: %w", err)
	}
	write := create
	if overwrite {
		write = replace
	}
	if err := write(out.Key, bundle.KeyPEM(b).Reveal(), 0o600); err != nil {
		return CertificateExport{}, fmt.Errorf("export certificate: %w", err)
	}
	if err := write(out.Fullchain, bundle.FullchainPEM(b), 0o644); err != nil {
		if !overwrite {
			err = errors.Join(err, os.Remove(out.Key))
		}
		return CertificateExport{}, fmt.Errorf("export certificate: %w", err)
	}
	return out, nil
}

// replace writes a file in place of one that is there. A private key is in no
// folder but its own, not even for a moment.
func replace(path string, data []byte, mode os.FileMode) error {
	return renameio.WriteFile(path, data, mode, renameio.WithStaticPermissions(mode), renameio.WithTempDir(filepath.Dir(path)))
}

// create writes a new file, or none.
func create(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s %w", path, ErrExists)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// shown is text from a certificate as a terminal may get it.
func shown(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

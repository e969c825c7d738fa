package agent

import (
	"errors"

	"github.com/tlsfleet/tlsfleet/agent/seal"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// IsConfiguration reports whether the error is a mistake of configuration,
// which trying again does not mend: a missing keyring, a folder that cannot
// hold keys.
func IsConfiguration(err error) bool {
	return errors.Is(err, seal.ErrKeyring) || errors.Is(err, renderer.ErrNotTmpfs)
}

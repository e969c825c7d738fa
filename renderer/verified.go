package renderer

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// verifiedAt is the time of the empty folder of a bundle that is marked.
var verifiedAt = time.Unix(1, 0)

// SetVerified marks a bundle in the store: the signatures and constraints of
// its issuers hold. The mark is the time of its empty folder, so that it needs
// no file and goes when the bundle goes, or when others write there. It may be
// lost by a power failure, and then says that they are to be looked at again.
func (r *Renderer) SetVerified(hash fleet.Hash) error {
	at := unix.NsecToTimespec(verifiedAt.UnixNano())
	path := filepath.Join(r.cfg.bundleDir(hash), rootDir)
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("mark bundle %s: %w", hash, err)
	}
	return nil
}

// Verified reports whether a bundle has the mark of SetVerified.
func (r *Renderer) Verified(hash fleet.Hash) bool {
	info, err := os.Lstat(filepath.Join(r.cfg.bundleDir(hash), rootDir))
	return err == nil && info.ModTime().Equal(verifiedAt)
}

package renderer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Edit is something under the managed folders that is not as this package
// left it.
type Edit struct {
	Path    string
	What    string // "changed", "missing", "mode 0644"
	Content bool   // who read it got something else
	Exposes bool   // users besides root and nginx's workers could read a key
}

// Place is what a path under the managed folders belongs to.
type Place int

// The places. Each folder belongs to the place of what it holds.
const (
	PlaceNone    Place = iota // not managed, or half-written by this package
	PlaceLive                 // an entry of StateDir/live
	PlaceBundle               // a bundle in StateDir/store, or something in it
	PlaceRelease              // StateDir/nginx
	PlaceKeys                 // RunDir/tickets
)

// Folders lists what has to be watched besides bundles: the folders of the
// names, bundles, releases and keys, and that of the active release.
func (r *Renderer) Folders() []string {
	dirs := []string{r.cfg.liveDir(), r.cfg.storeDir(), r.cfg.releasesDir(), r.cfg.ticketsDir()}
	if number, err := r.linked(currentLink); err == nil && number != 0 {
		dirs = append(dirs, r.cfg.releaseDir(number))
	}
	return dirs
}

// BundleFolders lists what has to be watched of a bundle.
func (r *Renderer) BundleFolders(hash fleet.Hash) []string {
	dir := r.cfg.bundleDir(hash)
	return []string{dir, filepath.Join(dir, rootDir)}
}

// Locate says what a path belongs to. entry is that of live, or the hash of the
// bundle; empty for one of the folders itself.
func (r *Renderer) Locate(path string) (p Place, entry string) {
	if rest, ok := below(path, r.cfg.liveDir()); ok {
		if rest == linkPrefix {
			return PlaceNone, ""
		}
		return PlaceLive, rest
	}
	if rest, ok := below(path, r.cfg.storeDir()); ok {
		if strings.HasPrefix(rest, stagePrefix) || strings.HasPrefix(rest, gonePrefix) {
			return PlaceNone, ""
		}
		return PlaceBundle, rest
	}
	if _, ok := below(path, r.cfg.releasesDir()); ok {
		return PlaceRelease, ""
	}
	if _, ok := below(path, r.cfg.ticketsDir()); ok {
		return PlaceKeys, ""
	}
	return PlaceNone, ""
}

// below is the first element of path under dir; empty if it is dir.
func below(path, dir string) (entry string, ok bool) {
	rest, ok := strings.CutPrefix(path, dir)
	if !ok || rest == "" {
		return "", ok
	}
	if rest, ok = strings.CutPrefix(rest, "/"); !ok {
		return "", false
	}
	entry, _, _ = strings.Cut(rest, "/")
	return entry, true
}

// MendFolders makes the folders of the certificates again where others have
// removed them, and takes back what others have changed of who may enter. It
// returns what it found.
func (r *Renderer) MendFolders() ([]Edit, error) {
	r.certs.Lock()
	defer r.certs.Unlock()
	if r.group == nil {
		return nil, nil
	}
	var edits []Edit
	for _, dir := range []string{r.cfg.storeDir(), r.cfg.liveDir()} {
		edit, err := r.mendFolder(dir)
		if edit != nil {
			edits = append(edits, *edit)
		}
		if err != nil {
			return edits, fmt.Errorf("mend folder: %w", err)
		}
	}
	return edits, nil
}

// mendFolder is MendFolders for one. A link to a folder elsewhere is the
// operator's choice.
func (r *Renderer) mendFolder(dir string) (*Edit, error) {
	at := dir
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		at = target
	}
	edit := access(at, *r.group, 0o710, true)
	if edit == nil {
		return nil, nil //nolint:nilnil // nothing found is no error
	}
	edit.Path, edit.Exposes = dir, false // keys have modes of their own
	r.fresh = nil
	if info, err := os.Lstat(at); err == nil && !info.IsDir() {
		if _, err := r.setAside(at); err != nil {
			return edit, err
		}
	}
	return edit, errors.Join(makeFolders(at), setAccess(at, *r.group, 0o710))
}

// access says what is wrong with the owner, group or mode of a path; nil if
// nothing is. gid -1 is any group.
func access(path string, gid int, perm fs.FileMode, dir bool) *Edit {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &Edit{Path: path, What: absent(err)}
	}
	kind, want := st.Mode&unix.S_IFMT, uint32(unix.S_IFREG)
	if dir {
		want = unix.S_IFDIR
	}
	have := fs.FileMode(st.Mode & 0o777)
	switch {
	case kind != want:
		return &Edit{Path: path, What: "replaced by something else", Content: true}
	case int(st.Uid) != os.Geteuid():
		return &Edit{Path: path, What: fmt.Sprintf("given to user %d", st.Uid), Exposes: have&0o600 != 0}
	case gid >= 0 && int(st.Gid) != gid:
		return &Edit{Path: path, What: fmt.Sprintf("given to group %d", st.Gid), Exposes: have&0o060 != 0}
	case have != perm:
		return &Edit{Path: path, What: fmt.Sprintf("mode %#o", have), Exposes: have&^perm&0o077 != 0}
	}
	return nil
}

func absent(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "missing"
	}
	return err.Error()
}

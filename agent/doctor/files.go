package doctor

import (
	"errors"
	"fmt"
	"io/fs"
)

// Folder is one of those that the agent keeps.
type Folder struct {
	Path  string
	Most  fs.FileMode // permission bits that it may have
	Mode  fs.FileMode
	Owner int
	Err   error // of looking at it
}

// Folders judges the folders of the agent, which runs as user.
func Folders(list []Folder, user int) Finding {
	const id = "folders"
	seen, hidden := 0, []string{}
	for _, f := range list {
		switch {
		case errors.Is(f.Err, fs.ErrNotExist):
			continue
		case errors.Is(f.Err, fs.ErrPermission):
			hidden = append(hidden, f.Path)
			continue
		case f.Err != nil:
			return failure(id, "", "%v", f.Err)
		case !f.Mode.IsDir():
			return failure(id, "move it away; the agent makes the folder", "%s is no folder", f.Path)
		case f.Mode.Perm()&^f.Most != 0:
			return failure(id, fmt.Sprintf("chmod %o %s", f.Mode.Perm()&f.Most, f.Path), "%s has the mode %04o, %04o is the most it should have", f.Path, f.Mode.Perm(), f.Most)
		case f.Owner != 0 && f.Owner != user:
			return failure(id, "chown root "+f.Path, "%s belongs to the user %d, who can put anything there", f.Path, f.Owner)
		}
		seen++
	}
	switch {
	case len(hidden) > 0:
		return skipped(id, asRoot, "not to be seen by this user: %s", few(hidden))
	case seen == 0:
		return warning(id, "start the agent: systemctl start tlsfleet", "none of the agent's folders is there yet")
	}
	return ok(id, "modes and owners of %d folders are right", seen)
}

// PrivateKeys judges key files: exposed are those that any user of the host can
// read, hidden what could not be looked at.
func PrivateKeys(looked int, exposed, hidden []string) Finding {
	const id = "private-keys"
	switch {
	case len(exposed) > 0:
		return failure(id, "chmod o= on them, and replace certificates whose key others may have read", "any user of this host can read %s", few(exposed))
	case len(hidden) > 0:
		return skipped(id, asRoot, "not to be seen by this user: %s", few(hidden))
	}
	return ok(id, "none of %d key files is open to all users", looked)
}

// Tmpfs judges where ticket keys are; persistent is allow_persistent_keys.
func Tmpfs(dir string, err error, persistent bool) Finding {
	const id = "run-dir"
	switch {
	case err == nil:
		return ok(id, "%s is on tmpfs", dir)
	case errors.Is(err, fs.ErrNotExist):
		return warning(id, "start the agent: systemctl start tlsfleet", "%s is not there yet", dir)
	case errors.Is(err, fs.ErrPermission):
		return skipped(id, asRoot, "%v", err)
	case persistent:
		return warning(id, "set run_dir to a folder on tmpfs", "ticket keys are on a disk, where they can outlive their deletion: allow_persistent_keys is true")
	}
	return failure(id, "set run_dir to a folder on tmpfs, such as /run/tlsfleet", "%v", err)
}

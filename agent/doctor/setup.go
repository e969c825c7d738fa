package doctor

import (
	"cmp"
	"errors"
	"io/fs"
	"time"
)

// asRoot is what to do about what this user may not see.
const asRoot = "run it as root"

// Config judges the configuration file. exposed says that it holds a secret and
// others may read it.
func Config(path string, err error, exposed bool) Finding {
	const id = "config"
	switch {
	case errors.Is(err, fs.ErrPermission):
		return skipped(id, asRoot, "%v", err)
	case err != nil:
		return failure(id, "mend the file; packaging/tlsfleet.hcl explains every setting", "%v", err)
	case exposed:
		return failure(id, "chmod 600 "+path+", or put the token into token_file", "%s holds Consul's token and others may read it", path)
	}
	return ok(id, "%s is sound", path)
}

// Keyring is what was found of a keyring file.
type Keyring struct {
	ID    string // of the finding; empty: "keyring"
	Path  string
	From  string // "consul" if the agent gets it from there, else empty
	Err   error  // of loading it
	Owner int    // user id
	User  int    // who asks
	Made  time.Time
	Keys  []string // ids
}

// Judge gives the finding.
func (k Keyring) Judge(now time.Time) Finding {
	id := cmp.Or(k.ID, "keyring")
	switch {
	case errors.Is(k.Err, fs.ErrPermission):
		return skipped(id, asRoot, "%v", k.Err)
	case errors.Is(k.Err, fs.ErrNotExist) && k.ID != "":
		return failure(id, "copy it from another host that may lead, or set eligible = false in the block leader", "%s is not there", k.Path)
	case errors.Is(k.Err, fs.ErrNotExist) && k.From != "":
		return failure(id, "on the operator's host: tlsfleet node admit, with what tlsfleet node init prints here", "%s is not there: this node was not admitted", k.Path)
	case k.Err != nil && k.From != "":
		return failure(id, "chmod 600 "+k.Path+", or remove it, and the agent gets it from Consul again", "%v", k.Err)
	case errors.Is(k.Err, fs.ErrNotExist):
		return failure(id, "copy it from a node of the fleet, or make the first one: tlsfleet keyring init", "%s is not there", k.Path)
	case k.Err != nil:
		return failure(id, "chmod 600 "+k.Path+", or copy it again from a node of the fleet", "%v", k.Err)
	case k.Owner != 0 && k.Owner != k.User:
		return warning(id, "chown root "+k.Path, "%s belongs to the user %d, who can open everything of the fleet", k.Path, k.Owner)
	}
	return ok(id, "%s: %d keys, %s seals, file of %s", k.Path, len(k.Keys), k.Keys[0], days(now.Sub(k.Made)))
}

// Identity judges what a node opens its keyring with that gets it from Consul. The
// recipient is its public part, err that of loading it.
func Identity(path, recipient string, err error) Finding {
	const id = "node-identity"
	switch {
	case errors.Is(err, fs.ErrPermission):
		return skipped(id, asRoot, "%v", err)
	case errors.Is(err, fs.ErrNotExist):
		return warning(id, "restart the agent, which makes another, and admit the node by what tlsfleet node init prints", "%s is not there: this node opens no newer keyring", path)
	case err != nil:
		return failure(id, "chmod 600 "+path+"; if it is damaged remove it, restart the agent, and admit the node by what tlsfleet node init prints", "%v", err)
	}
	return ok(id, "%s: %s", path, recipient)
}

// OperatorKey judges that the operator's key is not on a host that gets its keyring
// from Consul. err is that of looking for it.
func OperatorKey(path string, err error) Finding {
	const id = "operator-key"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ok(id, "the operator's key is not on this host")
	case errors.Is(err, fs.ErrPermission):
		return skipped(id, asRoot, "%v", err)
	}
	return warning(id, "move it, and the register beside it, to a host that serves nothing", "%s is on a node: who breaks into this host can give keyrings to all others", path)
}

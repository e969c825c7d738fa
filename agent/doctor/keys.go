package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// Keys compares the keyring of this host with those that nodes report, by ids.
type Keys struct {
	Here  []string // the first seals
	Nodes []NodeKeys
	Err   error // why it is not known
}

// NodeKeys is what a node in service reports; no keys: nothing.
type NodeKeys struct {
	Name string
	Keys []string
}

// Judge gives the finding "keyring-nodes".
func (k Keys) Judge() Finding {
	const id = "keyring-nodes"
	if k.Err != nil {
		return skipped(id, "", "%v", k.Err)
	}
	var apart, moving []string
	for _, n := range k.Nodes {
		switch {
		case len(n.Keys) == 0:
		case !slices.Contains(n.Keys, k.Here[0]):
			apart = append(apart, fmt.Sprintf("%s lacks the key %s, which seals here", n.Name, k.Here[0]))
		case !slices.Contains(k.Here, n.Keys[0]):
			apart = append(apart, fmt.Sprintf("%s seals with %s, which is not here", n.Name, n.Keys[0]))
		case !slices.Equal(n.Keys, k.Here):
			moving = append(moving, n.Name+" has "+strings.Join(n.Keys, " "))
		}
	}
	const mend = "tlsfleet keyring list shows who has which key; give all nodes the same keyring"
	switch {
	case len(apart) > 0:
		return failure(id, mend, "%s", few(apart))
	case len(moving) > 0:
		return warning(id, mend+", and end the rotation: tlsfleet keyring rotate", "the keyring here is %s, %s", strings.Join(k.Here, " "), few(moving))
	case len(k.Here) > 1:
		return warning(id, "end the rotation: tlsfleet keyring rotate", "the keyring has %d keys: a rotation is under way", len(k.Here))
	}
	return ok(id, "all nodes that report have the keyring of this host")
}

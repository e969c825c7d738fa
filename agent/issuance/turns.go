package issuance

import "time"

// turns are the items that wait for room under a CA's limits, and whose turn it
// is: first issuances and renewals alternate, the first issuances go around the
// groups, and the renewal that ends first comes first. The zero value is empty.
type turns struct {
	groups   map[string][]string // ids of first issuances, oldest first
	round    []string            // groups in the order of their turns
	renewals Schedule            // by the end of the certificate
	renewed  bool                // the last turn was a renewal's
	fresh    int
}

func (t *turns) len() int { return t.fresh + t.renewals.Len() }

// push adds an item; it must not be in already.
func (t *turns) push(it Item) {
	if it.Cert != nil {
		t.renewals.Set(it.ID(), it.Cert.NotAfter)
		return
	}
	if t.groups == nil {
		t.groups = map[string][]string{}
	}
	if len(t.groups[it.Group]) == 0 {
		t.round = append(t.round, it.Group)
	}
	t.groups[it.Group] = append(t.groups[it.Group], it.ID())
	t.fresh++
}

// pop takes out the item whose turn it is.
func (t *turns) pop() (id string, ok bool) {
	if t.fresh == 0 || t.renewals.Len() > 0 && !t.renewed {
		t.renewed = true
		return t.renewals.Pop(endOfTime)
	}
	t.renewed = false
	group := t.round[0]
	ids := t.groups[group]
	id, rest := ids[0], ids[1:]
	t.round = t.round[1:]
	if len(rest) > 0 {
		t.groups[group] = rest
		t.round = append(t.round, group)
	} else {
		delete(t.groups, group)
	}
	t.fresh--
	return id, true
}

// endOfTime is after the end of every certificate.
var endOfTime = time.Unix(1<<40, 0)

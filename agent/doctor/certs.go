package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// How long before its end a certificate is told of: an imported one has to be
// replaced by a person, an obtained one should have been renewed long ago.
const (
	soonImported = 14 * 24 * time.Hour
	soonObtained = 48 * time.Hour
)

// Expiry judges the ends of the certificates that this node follows.
func Expiry(entries []fleet.Entry, err error, now time.Time) Finding {
	const id = "expiry"
	if err != nil {
		return unseen(id, err)
	}
	var ended, soon []fleet.Entry
	var first *fleet.Entry
	for i, e := range entries {
		if e.Removed {
			continue
		}
		if first == nil || e.NotAfter.Before(first.NotAfter) {
			first = &entries[i]
		}
		limit := soonObtained
		if e.Source == fleet.SourceImport {
			limit = soonImported
		}
		switch left := e.NotAfter.Sub(now); {
		case left <= 0:
			ended = append(ended, e)
		case left < limit:
			soon = append(soon, e)
		}
	}
	const mend = "tlsfleet cert import the new one, or see why it is not renewed: tlsfleet domain show NAME"
	switch {
	case len(ended) > 0:
		return failure(id, mend, "certificates have ended: %s", ends(ended))
	case len(soon) > 0:
		return warning(id, mend, "certificates end soon: %s", ends(soon))
	case first == nil:
		return ok(id, "there are no certificates")
	}
	return ok(id, "the first to end is %s", ends([]fleet.Entry{*first}))
}

// ends lists certificates, the first to end first.
func ends(list []fleet.Entry) string {
	slices.SortFunc(list, func(a, b fleet.Entry) int {
		if d := a.NotAfter.Compare(b.NotAfter); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	texts := make([]string, 0, len(list))
	for _, e := range list {
		texts = append(texts, fmt.Sprintf("%s on %s", e.Name, e.NotAfter.Format(time.DateOnly)))
	}
	return few(texts)
}

// Quarantine judges names whose certificate nginx did not serve.
func Quarantine(names []string, err error) Finding {
	const id = "quarantine"
	switch {
	case err != nil:
		return unseen(id, err)
	case len(names) > 0:
		return warning(id, "tlsfleet plan says why; import another certificate for them", "in quarantine on this node: %s", few(names))
	}
	return ok(id, "no certificate is in quarantine")
}

// Parked judges names that no CA is asked for any more.
func Parked(names []string, err error) Finding {
	const id = "domains"
	switch {
	case err != nil:
		return unseen(id, err)
	case len(names) > 0:
		return warning(id, "tlsfleet domain show NAME says why; tlsfleet domain retry NAME when it is mended", "parked, so no certificate is obtained: %s", few(names))
	}
	return ok(id, "no name is parked")
}

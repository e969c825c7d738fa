package renderer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// readyTLS lets the workers reach the certificates, and takes names without
// one out of static servers: nginx would refuse the whole release for them.
func (r *Renderer) readyTLS(c *change, rel *Release) error {
	if rel.TLS.Mode == TLSNone {
		return nil
	}
	r.certs.Lock()
	defer r.certs.Unlock()
	if err := r.admit(c.in.config); err != nil {
		return err
	}
	if err := syncDir(r.cfg.liveDir()); err != nil {
		return err
	}
	if rel.TLS.Mode != TLSStatic {
		c.in.Problems = append(c.in.Problems, lateSizes(c.in)...)
		c.in.Problems = append(c.in.Problems, longNames(c.in, rel.TLS.rendered())...)
		return nil
	}
	var missing []string
	live := served{r.cfg.liveDir()}
	rel.TLS.List = slices.DeleteFunc(slices.Clone(rel.TLS.List), func(name string) bool {
		folder, err := LiveFolder(name)
		if err == nil && live.has(folder) {
			return false
		}
		missing = append(missing, name)
		return true
	})
	if len(missing) > 0 {
		c.in.Problems = append(c.in.Problems, problem(CodeCertificateMissing, fleet.Alarm,
			fmt.Sprintf("no certificate is live for %d of the names to be served: %s", len(missing), firstOf(missing)), ""))
	}
	return nil
}

// firstOf lists a few of many names.
func firstOf(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// lateSizes is one problem about sizes of map tables that nginx refuses after
// the first map: it says only that they are duplicate.
func lateSizes(in Inspection) []fleet.Problem {
	late := in.late
	if len(late) == 0 {
		return nil
	}
	return []fleet.Problem{problem(CodeSizesLate, fleet.Alarm,
		fmt.Sprintf("%s at %s:%d stands after the include of tlsfleet, where nginx takes it for a duplicate",
			late[0].Directive.Directive, late[0].file, late[0].Line), "move it in front of the include")}
}

// plainName is the longest name that fits into a map table of nginx's own size
// (64 bytes, of which an entry takes the name and 18 bytes more).
const plainName = 46

// longNames is one problem about names that nginx has no table for, because
// the size of tables cannot be set any more.
func longNames(in Inspection, names []string) []fleet.Problem {
	long := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return len(n) <= plainName })
	if in.mapBefore == nil || in.own["map_hash_bucket_size"] || len(long) == 0 {
		return nil
	}
	return []fleet.Problem{problem(CodeSizesLate, fleet.Alarm,
		fmt.Sprintf("the map at %s:%d stands before the include of tlsfleet, so that nginx's tables are too small for %s",
			in.mapBefore.file, in.mapBefore.Line, firstOf(long)),
		"move the include in front of it, or write map_hash_bucket_size 512; in front of it")}
}

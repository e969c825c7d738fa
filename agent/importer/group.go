package importer

import (
	"path/filepath"
	"slices"
	"strings"
)

// file is one file of a certificate.
type file struct {
	path  string
	role  role
	given bool // by itself, not by its folder
}

// group is the files of one certificate, or what looks like it.
type group struct {
	stem  string
	files []file
	from  int // index of the path that brought it
}

func (g group) has(roles ...role) bool {
	return slices.ContainsFunc(g.files, func(f file) bool { return slices.Contains(roles, f.role) })
}

func (g group) lacksKey() bool  { return !g.has(roleKey, roleBoth, rolePKCS12, roleNone) }
func (g group) lacksCert() bool { return !g.has(roleCert, roleFull, roleBoth, rolePKCS12, roleNone) }

// grouped sorts the files of one folder by the certificates they belong to, in
// the order of stems.
func grouped(dir string, names []string) []group {
	byStem := map[string]*group{}
	for _, base := range names {
		r, stem := part(base)
		if r == roleNone {
			continue
		}
		if byStem[stem] == nil {
			byStem[stem] = &group{stem: stem}
		}
		byStem[stem].files = append(byStem[stem].files, file{path: filepath.Join(dir, base), role: r})
	}
	groups := make([]group, 0, len(byStem))
	for _, g := range byStem {
		groups = append(groups, *g)
	}
	slices.SortFunc(groups, func(a, b group) int { return strings.Compare(a.stem, b.stem) })
	return onlyKey(groups)
}

// onlyKey gives the only key of a folder what has no key and no stem of its
// own (acme.sh: "fullchain.cer" and "a.test.key"), and, if it has no
// certificate then, the only certificate.
func onlyKey(groups []group) []group {
	key := only(groups, func(g group) bool { return g.has(roleKey) })
	if key < 0 {
		return groups
	}
	if loose := slices.IndexFunc(groups, func(g group) bool { return g.stem == "" && g.lacksKey() }); loose >= 0 {
		groups, key = merge(groups, key, loose)
	}
	if !groups[key].lacksCert() {
		return groups
	}
	if cert := only(groups, func(g group) bool { return g.lacksKey() && !g.lacksCert() }); cert >= 0 {
		groups, _ = merge(groups, key, cert)
	}
	return groups
}

// only is the index of the only group that is so, or -1.
func only(groups []group, is func(group) bool) int {
	at := -1
	for i, g := range groups {
		if !is(g) {
			continue
		}
		if at >= 0 {
			return -1
		}
		at = i
	}
	return at
}

// merge moves the files of one group into another, and returns where that is
// then.
func merge(groups []group, into, from int) ([]group, int) {
	groups[into].files = append(groups[into].files, groups[from].files...)
	groups = slices.Delete(groups, from, from+1)
	if from < into {
		into--
	}
	return groups, into
}

// pairUp joins certificates and keys that were given by their files from
// different folders: those of one stem, and the only ones that are left.
func pairUp(groups []group) []group {
	given := func(g group) bool { return slices.ContainsFunc(g.files, func(f file) bool { return f.given }) }
	certs := func(g group) bool { return given(g) && g.lacksKey() }
	keys := func(g group) bool { return given(g) && g.lacksCert() && !g.lacksKey() }
	for i := 0; i < len(groups); i++ {
		g := groups[i]
		if !keys(g) {
			continue
		}
		cert := only(groups, func(o group) bool { return certs(o) && o.stem == g.stem })
		twin := only(groups, func(o group) bool { return keys(o) && o.stem == g.stem })
		if cert >= 0 && twin == i {
			groups, _ = merge(groups, cert, i)
			i--
		}
	}
	if key := only(groups, keys); key >= 0 {
		if cert := only(groups, certs); cert >= 0 {
			groups, _ = merge(groups, cert, key)
		}
	}
	return groups
}

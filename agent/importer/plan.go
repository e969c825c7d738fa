package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// search walks what the paths name.
type search struct {
	limit   int
	looked  int                // files and folders so far
	visited map[string]bool    // folders, by their real paths
	folders map[string][]group // of the files that were given by themselves
	refused []Refused
	empty   []int // indexes of the folders without a file to look at
}

// plan lists what is to be read.
func (s *search) plan(ctx context.Context, paths []string) ([]group, error) {
	var groups []group
	files := map[string][]string{} // given by themselves, by folder
	index := map[string]int{}
	var dirs []string
	for i, p := range paths {
		p = filepath.Clean(p)
		info, err := os.Stat(p)
		switch {
		case err != nil:
			s.refuse(p, err)
		case info.IsDir():
			was := len(s.visited)
			gs, err := s.folder(ctx, p, 0)
			if err != nil {
				return nil, err
			}
			for n := range gs {
				gs[n].from = i
			}
			if len(gs) == 0 && len(s.visited) > was {
				s.empty = append(s.empty, i)
			}
			groups = append(groups, gs...)
		default:
			dir := filepath.Dir(p)
			if files[dir] == nil {
				dirs = append(dirs, dir)
			}
			files[dir] = append(files[dir], p)
			index[p] = i
		}
	}
	var given []group
	for _, dir := range dirs {
		given = append(given, s.given(dir, files[dir])...)
	}
	for n, g := range given {
		given[n].from = -1
		for _, f := range g.files {
			if i, ok := index[f.path]; ok {
				given[n].from = i
			}
		}
	}
	groups = append(groups, pairUp(given)...)
	slices.SortStableFunc(groups, func(a, b group) int { return a.from - b.from })
	return groups, s.bounded()
}

func (s *search) bounded() error {
	if s.looked > s.limit {
		return fmt.Errorf("%w: more than %d files", ErrTooMany, s.limit)
	}
	return nil
}

func (s *search) refuse(path string, err error) {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err // the path is told anyway
	}
	s.refused = append(s.refused, Refused{Path: path, Err: err})
}

// folder lists the certificates in and below a folder.
func (s *search) folder(ctx context.Context, dir string, depth int) ([]group, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	target, err := filepath.EvalSymlinks(dir)
	if err != nil {
		s.refuse(dir, err)
		return nil, nil
	}
	if s.visited[target] {
		return nil, nil
	}
	s.visited[target] = true
	files, folders, err := s.list(dir)
	if err != nil {
		s.refuse(dir, err)
		return nil, nil
	}
	if err := s.bounded(); err != nil {
		return nil, err
	}
	groups := grouped(dir, files)
	folders = relevant(files, folders)
	if depth == maxDepth && len(folders) > 0 {
		s.refuse(dir, fmt.Errorf("%w: folders more than %d deep", ErrTooMany, maxDepth))
		return groups, nil
	}
	for _, base := range folders {
		below, err := s.folder(ctx, filepath.Join(dir, base), depth+1)
		if err != nil {
			return nil, err
		}
		groups = append(groups, below...)
	}
	return groups, nil
}

// list returns the names in a folder, sorted, those of hidden folders left out.
// Links count as what they lead to.
func (s *search) list(dir string) (files, folders []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	s.looked += len(entries)
	for _, e := range entries {
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			info, err := os.Stat(filepath.Join(dir, e.Name()))
			isDir = err == nil && info.IsDir()
		}
		switch {
		case !isDir:
			files = append(files, e.Name())
		case !strings.HasPrefix(e.Name(), "."):
			folders = append(folders, e.Name())
		}
	}
	return files, folders, nil
}

// relevant leaves out the folders in which ACME clients keep other things:
// keys of accounts, certificates of the past.
func relevant(files, folders []string) []string {
	has := func(name string) bool { return slices.Contains(folders, name) }
	switch {
	case has("live") && (has("archive") || has("renewal")): // certbot
		return []string{"live"}
	case has("certificates") && has("accounts"): // lego
		return []string{"certificates"}
	case slices.Contains(files, "account.conf"): // acme.sh
		return slices.DeleteFunc(folders, func(name string) bool { return name == "ca" })
	}
	return folders
}

// given lists the certificates of files that were given by themselves, with
// what lies beside them and belongs to them.
func (s *search) given(dir string, paths []string) []group {
	names, _, err := s.list(dir)
	if err != nil {
		names = nil // a folder may be passed through and not be listed
	}
	asked := map[string]bool{}
	for _, p := range paths {
		asked[p] = true
		if !slices.Contains(names, filepath.Base(p)) {
			names = append(names, filepath.Base(p))
		}
	}
	var groups []group
	for _, g := range grouped(dir, names) {
		for i, f := range g.files {
			if asked[f.path] {
				g.files[i] = given(f)
				delete(asked, f.path)
			}
		}
		if g = g.wanted(); len(g.files) > 0 {
			groups = append(groups, g)
		}
	}
	for _, p := range paths {
		if asked[p] {
			_, stem := part(filepath.Base(p))
			groups = append(groups, group{stem: stem, files: []file{given(file{path: p})}})
		}
	}
	return groups
}

// given is a file that was given by itself: what is in it counts, not its name.
func given(f file) file {
	f.given = true
	data, err := readFile(f.path)
	if err != nil {
		return f // which reading it again will tell
	}
	switch c := inspect(f, data); {
	case c.pkcs12:
		f.role = rolePKCS12
	case c.certs > 0 && c.keys > 0:
		f.role = roleBoth
	case c.keys > 0:
		f.role = roleKey
	case c.certs > 0 && f.role != roleFull && f.role != roleChain:
		f.role = roleCert
	}
	return f
}

// wanted is the group without the certificates that were not given, if one
// was; nothing if no file was.
func (g group) wanted() group {
	isCert := func(f file) bool {
		return slices.Contains([]role{roleCert, roleFull, roleBoth, rolePKCS12}, f.role)
	}
	given, cert := false, false
	for _, f := range g.files {
		given = given || f.given
		cert = cert || f.given && isCert(f)
	}
	g.files = slices.DeleteFunc(g.files, func(f file) bool { return !given || cert && isCert(f) && !f.given })
	return g
}

// refusals are those of the search, and the paths that gave neither a
// certificate nor a refusal.
func (s *search) refusals(paths []string, groups []group, results []result) []Refused {
	silent := map[int]bool{}
	for _, i := range s.empty {
		silent[i] = true
	}
	spoke := map[int]bool{}
	for i, g := range groups {
		silent[g.from] = true
		spoke[g.from] = spoke[g.from] || len(results[i].found)+len(results[i].refused) > 0
	}
	for i, p := range paths {
		told := slices.ContainsFunc(s.refused, func(r Refused) bool {
			return r.Path == filepath.Clean(p) || strings.HasPrefix(r.Path, filepath.Clean(p)+string(filepath.Separator))
		})
		if silent[i] && !spoke[i] && !told {
			s.refuse(p, ErrNothing)
		}
	}
	return s.refused
}

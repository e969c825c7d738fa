package renderer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/templates"
)

// mostBlamed is how many times a release is tested again without a site that
// nginx refuses.
const mostBlamed = 16

func isTemplate(err error) bool { return errors.Is(err, templates.ErrTemplate) }

// refusedSite is the file of a site that nginx did not take.
type refusedSite struct {
	file fleet.Hash // with the operator's files that it includes
	why  string     // with file and line
	own  bool       // its own text is to blame, not what it includes

	wait time.Duration // until it is tried again as it is
	next time.Time
}

// newRefused is a site that nginx refuses now, with the first reason that it gives.
func newRefused(file fleet.Hash, text string, own bool) refusedSite {
	why := strings.TrimSpace(text)
	if said := fatalLine.FindStringSubmatch(why); said != nil {
		why = said[1]
	}
	return refusedSite{file: file, why: why, own: own, wait: siteRetry, next: time.Now().Add(siteRetry)}
}

// refusals is the sites that are left out, by ID.
type refusals map[string]refusedSite

// ofTemplate says why an operator's template is to blame that nginx has not
// accepted before, if there is a release to keep instead; "" if it is not.
func (f refusals) ofTemplate(own SiteSource, active SitesMade) string {
	if !own.isNew(active) {
		return ""
	}
	for _, id := range slices.Sorted(maps.Keys(f)) {
		if f[id].own {
			return fmt.Sprintf("use template %s: nginx refuses what it makes of site %s: %s", own.File, id, f[id].why)
		}
	}
	return ""
}

// isNew reports whether it is an operator's template other than the one that
// the active release has sites by.
func (s SiteSource) isNew(active SitesMade) bool {
	template := s.hash()
	return len(active.Files) > 0 && active.Template != template && template != templates.EmbeddedSiteHash()
}

// siteText is the state of a file of a site with what it includes.
func siteText(text []byte) fleet.Hash {
	h := sha256.New()
	h.Write(text)
	for _, path := range includedBy(text) {
		h.Write([]byte(fileState(path)))
	}
	return fleet.Hash(h.Sum(nil))
}

// ownFiles are the directives with files of the operator.
var ownFiles = regexp.MustCompile(`(?m)(?:^|[;{}])\s*(?:include|ssl_client_certificate)\s+("(?:[^"\\]|\\.)*"|[^\s;]+)`)

// includedBy is the files of the operator that a site's file names.
func includedBy(text []byte) []string {
	var all []string
	for _, m := range ownFiles.FindAllSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll(unquote(string(m[1])), `\\`, `\`))
	}
	return all
}

// forgetRefused tries everything again with another nginx. The caller holds r.mu.
func (r *Renderer) forgetRefused(version string) {
	if version != "" && version != r.refusedBy {
		r.refused, r.refusedBy = map[string]refusedSite{}, version
	}
}

// withoutRefused leaves out the files that nginx has refused as they are. The
// caller holds r.mu.
func (r *Renderer) withoutRefused(files siteFiles) (siteFiles, refusals) {
	left := refusals{}
	var rest siteFiles
	for _, f := range files {
		id, ok := siteOf(f.Name)
		if was, refused := r.refused[id]; ok && refused && was.file == siteText(f.Text) {
			left[id] = was
			continue
		}
		rest = append(rest, f)
	}
	return rest, left
}

const sitePrefix, siteSuffix = "40-site-", ".conf"

// siteOf is the site whose file has the name.
func siteOf(name string) (id string, ok bool) {
	id, ok = strings.CutPrefix(name, sitePrefix)
	if !ok {
		return "", false
	}
	id, ok = strings.CutSuffix(id, siteSuffix)
	return id, ok && templates.SiteFile(id) == name
}

// What nginx says of files and sockets.
var (
	siteBlamed   = regexp.MustCompile(`/(40-site-[a-z0-9._-]+\.conf):\d+`)
	fileBlamed   = regexp.MustCompile(` in (/[^\n]+?):\d+(?:\s|;|$)|"(/[^"\n]+)"`)
	socketBlamed = regexp.MustCompile(`bind\(\) to (\S+) failed`)
)

// blameSites notes the sites that nginx's message is about. It reports whether
// there are any that were not known. The caller holds r.mu.
func (r *Renderer) blameSites(from Sites, made SitesMade, files siteFiles, text string) bool {
	// Going back to the template before helps if this one is new.
	back := made.Kept == "" && from.Template.isNew(r.madeSites())
	shared := from.templateFiles(files)
	found := false
	for line := range strings.Lines(text) {
		template := blamesOneOf(line, shared)
		if template && !back {
			continue // as with the operator's own configuration: no site is at fault
		}
		for _, f := range files {
			id, ok := siteOf(f.Name)
			if !ok {
				continue
			}
			own := blames(siteBlamed, line, f.Name)
			if !own && !r.blamedFile(f, line) {
				continue
			}
			now := newRefused(siteText(f.Text), line, own || template)
			if was := r.refused[id]; was.file != now.file {
				r.refused[id], found = now, true
			}
		}
	}
	return found
}

// templateFiles is the files that sites include because their template does.
func (s Sites) templateFiles(files siteFiles) []string {
	if s.Keep {
		return nil // which the sites name is not known
	}
	own, all := map[string]bool{}, []string{}
	for _, v := range s.List {
		for _, path := range SiteFiles(s.SnippetsDir, v) {
			own[path] = true
		}
	}
	for _, f := range files {
		if _, ok := siteOf(f.Name); !ok {
			continue
		}
		for _, path := range includedBy(f.Text) {
			if !own[path] {
				all = append(all, path)
			}
		}
	}
	return distinct(all)
}

// blamesOneOf reports whether nginx's message is about one of the files.
func blamesOneOf(text string, files []string) bool {
	return slices.ContainsFunc(files, func(path string) bool { return blames(fileBlamed, text, path) })
}

// blamedFile reports whether a line is about what only the site has: a file of
// the operator, or a socket.
func (r *Renderer) blamedFile(f templates.File, line string) bool {
	for _, path := range includedBy(f.Text) {
		if blames(fileBlamed, line, path) {
			return true
		}
	}
	for _, m := range socketBlamed.FindAllStringSubmatch(line, -1) {
		port, every := strings.CutPrefix(m[1], "0.0.0.0:")
		for _, listen := range []string{m[1], port, "*:" + port} {
			if bytes.Contains(f.Text, []byte("    listen "+listen+" ")) && (every || listen == m[1]) {
				return true
			}
		}
	}
	return false
}

// blames reports whether one of the pattern's groups found what.
func blames(pattern *regexp.Regexp, line, what string) bool {
	for _, m := range pattern.FindAllStringSubmatch(line, -1) {
		if slices.Contains(m[1:], what) {
			return true
		}
	}
	return false
}

package renderer

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/templates"
)

// Sites is the virtual hosts that a release has to serve. The zero value is none.
type Sites struct {
	Keep        bool                      // those of the active release, as they are: what is wanted is not known
	Epoch       uint64                    // of the head that they follow
	List        []site.Site               // by ID, none that clashes with another
	Backends    map[string][]site.Backend // by ID, of those whose backends are a service
	HTTPListen  []string                  // listen parameters for those that name none: "80"
	Listen      []string                  // the same with TLS: "443 ssl"
	SnippetsDir string                    // absolute path of the operator's files
	Template    SiteSource                // the operator's own template
}

// SiteSource is a template of sites. The zero value is the embedded one.
type SiteSource struct {
	File string
	Text []byte
	Err  error // it cannot be read
}

// backends is where the requests of a site go.
func (s Sites) backends(id string) []site.Backend {
	i, ok := slices.BinarySearchFunc(s.List, id, func(v site.Site, id string) int { return strings.Compare(v.ID, id) })
	if ok && s.List[i].Backends.Service == "" {
		return s.List[i].Backends.Addresses
	}
	return s.Backends[id]
}

// SitesMade is what a release has of sites, as its manifest says.
type SitesMade struct {
	Epoch    uint64                `json:"epoch,omitempty"`    // Sites.Epoch
	Input    fleet.Hash            `json:"input,omitzero"`     // SitesInput
	Template fleet.Hash            `json:"template,omitzero"`  // of the template
	Served   int                   `json:"served,omitempty"`   // how many
	Names    []string              `json:"names,omitempty"`    // their server names, sorted
	Files    map[string]fleet.Hash `json:"files,omitempty"`    // that they are in
	Curves   map[string]string     `json:"curves,omitempty"`   // of their sockets with TLS, as site.Socket spells them
	Left     map[string]string     `json:"left_out,omitempty"` // why, by ID
	Awaiting []string              `json:"awaiting,omitempty"` // those left out for a certificate only
	Kept     string                `json:"kept,omitempty"`     // why the files are those of a release before
}

// Awaits reports whether a site is left out for a certificate only: nothing is
// wrong with it that its owner has to mend first.
func (m SitesMade) Awaits(id string) bool {
	return m.Left[id] != "" && slices.Contains(m.Awaiting, id)
}

// siteFiles are the files of sites in a release.
type siteFiles []templates.File

// SitesInput names what the files of sites are made from: releases with the same
// have the same sites, unless a file was left out for what nginx said of it.
func (r *Renderer) SitesInput(rel Release, version string) (fleet.Hash, error) {
	type input struct {
		Site     site.Site
		ID       string
		Backends []site.Backend
		Files    []string
		Live     []string
	}
	s := rel.Sites
	if len(s.List) == 0 {
		return fleet.Hash{}, nil
	}
	frame := r.siteFrame(rel, version)
	all := make([]input, len(s.List))
	for i, v := range s.List {
		all[i] = input{Site: v, ID: v.ID, Backends: s.backends(v.ID)}
		for _, path := range SiteFiles(s.SnippetsDir, v) {
			all[i].Files = append(all[i].Files, fileState(path))
		}
		for _, name := range v.ServerNames {
			if folder, err := frame.folder(name); err == nil && !frame.Variable {
				all[i].Live = append(all[i].Live, folder)
			}
		}
	}
	text, err := json.Marshal(struct {
		Version, Live, Snippets string
		Variable                bool
		Listen, HTTPListen      []string
		Challenges              *templates.Challenges
		Template, Parts         fleet.Hash
		Unread                  bool
		Sites                   []input
	}{version, frame.LiveDir, s.SnippetsDir, frame.Variable, frame.Listen, frame.HTTPListen, frame.Challenges, s.Template.hash(), templates.EmbeddedSiteHash(), s.Template.Err != nil, all})
	if err != nil {
		return fleet.Hash{}, fmt.Errorf("compare sites: %w", err)
	}
	return sha256.Sum256(text), nil
}

// fileState tells one content of a file from the next.
func fileState(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "none"
	}
	return fmt.Sprint(info.Mode().IsRegular(), info.Size(), info.ModTime().UnixNano())
}

// hash is that of the template's text; the embedded one changes with tlsfleet.
func (s SiteSource) hash() fleet.Hash {
	if s.Text == nil {
		return templates.EmbeddedSiteHash()
	}
	return sha256.Sum256(s.Text)
}

func (s SiteSource) parse() (*templates.SiteTemplate, error) {
	switch {
	case s.Err != nil:
		return nil, fmt.Errorf("read template %s: %w: %w", s.File, templates.ErrTemplate, s.Err)
	case s.Text == nil:
		return templates.EmbeddedSite()
	}
	return templates.ParseSite(s.File, s.Text)
}

// siteFrame is what the files of sites of a release depend on beside the sites.
func (r *Renderer) siteFrame(rel Release, version string) SiteFrame {
	s := rel.Sites
	listen := s.Listen
	if rel.TLS.Mode != TLSNone {
		listen = nil
		for _, l := range rel.TLS.Listen { // its other parameters are set with the certificates' servers
			listen = append(listen, strings.Join(templates.ListenAgain(l), " "))
		}
	}
	live := served{r.cfg.liveDir()}
	return SiteFrame{
		Version: version, Variable: rel.TLS.Mode == TLSVariable, LiveDir: r.cfg.liveDir(),
		Listen: listen, HTTPListen: s.HTTPListen, SnippetsDir: s.SnippetsDir, Challenges: rel.Challenges.values(),
		Has: func(name string) bool {
			folder, err := LiveFolder(name)
			return err == nil && live.has(folder)
		},
	}
}

// makeSites makes the files of sites of a release. What cannot be used is left
// out; without a usable template they are those of the active release.
func (r *Renderer) makeSites(rel Release, in Inspection, version string) (SitesMade, siteFiles, error) {
	if rel.Sites.Keep {
		return r.keptSites("")
	}
	input, err := r.SitesInput(rel, version)
	if err != nil {
		return SitesMade{}, nil, err
	}
	made := SitesMade{Epoch: rel.Sites.Epoch, Input: input, Template: rel.Sites.Template.hash()}
	if len(rel.Sites.List) == 0 {
		made.Template = fleet.Hash{}
		return made, nil, nil
	}
	keep := func(why string) (SitesMade, siteFiles, error) {
		kept, files, err := r.keptSites(why)
		kept.Input = input // so that nothing is made again for the same
		return kept, files, err
	}
	r.forgetRefused(version)
	frame := r.siteFrame(rel, version)
	files, err := r.renderSites(frame, rel, &made)
	if err != nil {
		return keep(err.Error())
	}
	files, refused := r.withoutRefused(files)
	if why := refused.ofTemplate(rel.Sites.Template, r.madeSites()); why != "" {
		return keep(why)
	}
	for id, was := range refused {
		made.Left[id] = was.why
	}
	list := slices.DeleteFunc(slices.Clone(rel.Sites.List), func(s site.Site) bool { return made.Left[s.ID] != "" })
	if len(list) > 0 {
		var sizes []templates.Size
		if rel.TLS.Mode == TLSNone {
			sizes = nameSizes(list, in.own)
		}
		shared, err := SitesShared(frame, list, r.defaultSockets(in), sizes)
		if err != nil {
			return keep(err.Error())
		}
		files = append(siteFiles{shared}, files...)
		made.Curves = siteCurves(frame, list)
	}
	made.note(list, files)
	return made, files, nil
}

// nameSizes is what nginx's table of server names has to be for sites.
func nameSizes(list []site.Site, keep map[string]bool) []templates.Size {
	var names []string
	for _, s := range list {
		names = append(names, s.ServerNames...)
	}
	return templates.NameSizes(names, keep)
}

// renderSites renders those sites whose files of the operator are there, and
// notes what is left out. The error is about the template.
func (r *Renderer) renderSites(frame SiteFrame, rel Release, made *SitesMade) (siteFiles, error) {
	var err error
	if frame.Template, err = rel.Sites.Template.parse(); err != nil {
		return nil, err
	}
	made.Left = map[string]string{}
	var list []site.Site
	for _, s := range rel.Sites.List {
		if err := checkSiteFiles(SiteFiles(frame.SnippetsDir, s)); err != nil {
			made.Left[s.ID] = err.Error()
			continue
		}
		list = append(list, s)
	}
	files, bad := RenderSites(frame, list, rel.Sites.backends)
	for id, err := range bad {
		// Values are quoted, so that only an operator's template makes another text of them.
		if rel.Sites.Template.Text != nil && errors.Is(err, errSiteText) {
			return nil, fmt.Errorf("use template %s: %w", rel.Sites.Template.File, err)
		}
		if isTemplate(err) {
			return nil, err
		}
		made.Left[id] = err.Error()
		if errors.Is(err, ErrNoCertificate) {
			made.Awaiting = append(made.Awaiting, id)
		}
	}
	slices.Sort(made.Awaiting)
	return files, nil
}

// note fills in what the files are of.
func (m *SitesMade) note(list []site.Site, files siteFiles) {
	m.Files = map[string]fleet.Hash{}
	for _, f := range files {
		m.Files[f.Name] = sha256.Sum256(f.Text)
	}
	m.Served, m.Names = len(list), nil
	for _, s := range list {
		m.Names = append(m.Names, s.ServerNames...)
	}
	slices.Sort(m.Names)
	m.Names = slices.Compact(m.Names)
}

// madeSites is what the active release has of sites; nothing if that cannot be read.
func (r *Renderer) madeSites() SitesMade {
	number, err := r.linked(currentLink)
	if err != nil || number == 0 {
		return SitesMade{}
	}
	m, err := r.manifest(number)
	if err != nil {
		return SitesMade{}
	}
	return m.Sites
}

// keptSites is the sites of the active release, without those that nginx refuses now.
func (r *Renderer) keptSites(why string) (SitesMade, siteFiles, error) {
	made := r.madeSites()
	made.Kept = why
	number, err := r.linked(currentLink)
	if err != nil || number == 0 {
		return SitesMade{Kept: why}, nil, err
	}
	var files siteFiles
	for name, sum := range made.Files {
		text, err := os.ReadFile(filepath.Join(r.cfg.releaseDir(number), name))
		if err != nil {
			return made, nil, fmt.Errorf("keep the sites of release %d: %w", number, err)
		}
		if sha256.Sum256(text) != sum {
			return made, nil, fmt.Errorf("keep the sites of release %d: %s was changed by others", number, name)
		}
		files = append(files, templates.File{Name: name, Text: text})
	}
	slices.SortFunc(files, func(a, b templates.File) int { return strings.Compare(a.Name, b.Name) })
	files, refused := r.withoutRefused(files)
	if len(refused) > 0 {
		left := map[string]string{}
		for id, why := range made.Left {
			left[id] = why
		}
		for id, was := range refused {
			left[id] = was.why
		}
		made.Left = left
		sums := map[string]fleet.Hash{}
		for _, f := range files {
			sums[f.Name] = made.Files[f.Name]
		}
		made.Served -= len(refused)
		made.Files, made.Input = sums, fleet.Hash{} // looked at again by who knows what is wanted
	}
	return made, files, nil
}

// checkSiteFiles says which of the operator's files is none: nginx would not start.
func checkSiteFiles(paths []string) error {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("use snippet: %w", err)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("use snippet %s: it is not a file", path)
		}
	}
	return nil
}

// defaultSockets is the sockets that have a default server beside those of sites.
func (r *Renderer) defaultSockets(in Inspection) []string {
	var all []string
	add := func(listen string) {
		if socket, ok := socketOf(listen); ok {
			all = append(all, socket)
		}
	}
	for _, l := range r.cfg.DefaultServers {
		add(l)
	}
	if in.config == nil {
		return all
	}
	level := httpLevel(in.config)
	for _, d := range level.servers {
		if in.config.isOurs(d.file) {
			continue
		}
		for _, l := range readServer(in.config, d, level.settings).listens {
			if l.isDefault {
				add(l.written)
			}
		}
	}
	return all
}

package templates

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// SiteTemplateName is the name of the template of a site; an operator's own has
// the same.
const SiteTemplateName = "site.conf"

// What a template may take.
const (
	maxTemplate   = 256 << 10       // of its source in bytes
	maxSiteText   = 4 << 20         // of what it writes in bytes
	maxPrinted    = 64 << 10        // of what one function makes in bytes
	maxRenderTime = 2 * time.Second // for one site
)

// ErrTemplate is wrapped by what is wrong with a template of an operator; the
// error names file and line.
var ErrTemplate = errors.New("template cannot be used")

// SiteTemplate renders sites.
type SiteTemplate struct {
	set   *template.Template
	limit time.Duration
}

// EmbeddedSite is the template that comes with tlsfleet.
func EmbeddedSite() (*SiteTemplate, error) {
	text, err := sources.ReadFile("nginx/site/" + SiteTemplateName)
	if err != nil {
		return nil, err
	}
	return ParseSite(SiteTemplateName, text)
}

// EmbeddedSiteHash names the templates of sites that come with tlsfleet.
func EmbeddedSiteHash() fleet.Hash { return embeddedSite() }

var embeddedSite = sync.OnceValue(func() fleet.Hash {
	h := sha256.New()
	for _, name := range []string{"site/" + SiteTemplateName, "site/site-parts.inc", "site/" + SitesFile, ChallengeFile} {
		text, err := sources.ReadFile("nginx/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		h.Write(text)
	}
	return fleet.Hash(h.Sum(nil))
})

// ParseSite makes a template of text that stands in the file. It can use the
// parts of the embedded one and the functions path and liveRoot, and what it
// prints of a site is quoted. Errors wrap ErrTemplate.
func ParseSite(file string, text []byte) (*SiteTemplate, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("parse %s: %w: %d bytes, at most %d", file, ErrTemplate, len(text), maxTemplate)
	}
	set, err := template.New("parts").Funcs(siteFuncs()).ParseFS(sources, "nginx/site/site-parts.inc", "nginx/"+ChallengeFile)
	if err != nil {
		return nil, fmt.Errorf("parse parts of sites: %w", err)
	}
	if set, err = set.New(file).Parse(string(text)); err != nil {
		return nil, fmt.Errorf("parse %s: %w: %w", file, ErrTemplate, err)
	}
	if err := watchLoops(set); err != nil {
		return nil, fmt.Errorf("parse %s: %w: %w", file, ErrTemplate, err)
	}
	return &SiteTemplate{set: set, limit: maxRenderTime}, nil
}

// Rendered is a site's file, and the same with a placeholder for each value, by
// which can be proved that no value is more than one word: see Placeholder.
type Rendered struct {
	File   File
	Shape  []byte
	Values []string // what Placeholder(n) stands for
}

// Placeholder is what stands for value n in a Shape.
func Placeholder(n int) string { return fmt.Sprintf(placeholder+"%dx", n) }

const placeholder = "tlsfleetvalue"

// Render renders a site. Errors about an operator's template wrap ErrTemplate.
func (t *SiteTemplate) Render(s Site) (Rendered, error) {
	if err := s.check(); err != nil {
		return Rendered{}, fmt.Errorf("render site %.80s: %w", s.ID, err)
	}
	view := s.view()
	var values []string
	err := eachValue(reflect.ValueOf(&view).Elem(), func(v *Value) error {
		values = append(values, v.text)
		return v.check()
	})
	if err != nil {
		return Rendered{}, fmt.Errorf("render site %.80s: %w", s.ID, err)
	}
	text, err := t.execute(&view)
	if err != nil {
		return Rendered{}, fmt.Errorf("render site %s: %w: %w", s.ID, ErrTemplate, err)
	}
	n := 0
	shaped := s.view()
	err = eachValue(reflect.ValueOf(&shaped).Elem(), func(v *Value) error {
		*v = V(Placeholder(n))
		n++
		return nil
	})
	if err != nil {
		return Rendered{}, err
	}
	shape, err := t.execute(&shaped)
	if err != nil {
		return Rendered{}, fmt.Errorf("render site %s: %w: %w", s.ID, ErrTemplate, err)
	}
	return Rendered{File{SiteFile(s.ID), text}, shape, values}, nil
}

// execute runs the template within its limits.
func (t *SiteTemplate) execute(view *SiteView) ([]byte, error) {
	set, err := t.set.Clone()
	if err != nil {
		return nil, err
	}
	end := time.Now().Add(t.limit)
	set.Funcs(template.FuncMap{tick: func(place string) (string, error) {
		if time.Now().After(end) {
			return "", fmt.Errorf("%s: it runs for more than %s", place, t.limit)
		}
		return "", nil
	}})
	out := bounded{left: maxSiteText}
	if err := set.Execute(&out, view); err != nil {
		return nil, err
	}
	return out.text.Bytes(), nil
}

// bounded is a writer with an end.
type bounded struct {
	text bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(p) > b.left {
		return 0, fmt.Errorf("it writes more than %d bytes", maxSiteText)
	}
	b.left -= len(p)
	return b.text.Write(p)
}

// tick is called in each turn of a loop and each template, with its place: a
// template cannot be stopped from outside.
const tick = "tlsfleet_tick"

// siteFuncs are the functions of templates. Those of text/template that make
// texts of any size are bounded, and those that escape for other languages or
// take values apart are refused.
func siteFuncs() template.FuncMap {
	refused := func(name string) func(...any) (string, error) {
		return func(...any) (string, error) { return "", fmt.Errorf("the function %s cannot be used here", name) }
	}
	printed := func(s string) (string, error) {
		if len(s) > maxPrinted {
			return "", fmt.Errorf("a text of more than %d bytes", maxPrinted)
		}
		return s, nil
	}
	return template.FuncMap{
		tick: noTick, "path": joinPath, "liveRoot": liveRoot,
		"print":   func(args ...any) (string, error) { return printed(fmt.Sprint(args...)) },
		"println": func(args ...any) (string, error) { return printed(fmt.Sprintln(args...)) },
		"printf":  func(format string, args ...any) (string, error) { return printed(fmt.Sprintf(format, args...)) },
		"html":    refused("html"), "js": refused("js"), "urlquery": refused("urlquery"), "call": refused("call"), "slice": refused("slice"),
	}
}

// liveRoot is quoteRoot of a value.
func liveRoot(live Value) (string, error) { return quoteRoot(live.text) }

func noTick(string) string { return "" }

// watchLoops puts a call of tick into each loop and each template.
func watchLoops(set *template.Template) error {
	for _, t := range set.Templates() {
		if t.Tree == nil || t.Root == nil {
			continue
		}
		if err := watchList(t.Tree, t.Root); err != nil {
			return err
		}
		if err := addTick(t.Tree, t.Root); err != nil {
			return err
		}
	}
	return nil
}

func addTick(in *parse.Tree, list *parse.ListNode) error {
	place, _ := in.ErrorContext(list)
	trees, err := parse.Parse("tick", fmt.Sprintf("{{%s %q}}", tick, place), "", "", map[string]any{tick: noTick})
	if err != nil {
		return err
	}
	list.Nodes = append([]parse.Node{trees["tick"].Root.Nodes[0]}, list.Nodes...)
	return nil
}

func watchList(in *parse.Tree, list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	for _, node := range list.Nodes {
		var inner []*parse.ListNode
		switch n := node.(type) {
		case *parse.RangeNode:
			inner = []*parse.ListNode{n.List, n.ElseList}
			if err := addTick(in, n.List); err != nil {
				return err
			}
		case *parse.IfNode:
			inner = []*parse.ListNode{n.List, n.ElseList}
		case *parse.WithNode:
			inner = []*parse.ListNode{n.List, n.ElseList}
		}
		for _, l := range inner {
			if err := watchList(in, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachValue calls do with every Value in v, in the order of its fields.
func eachValue(v reflect.Value, do func(*Value) error) error {
	switch v.Kind() {
	case reflect.Struct:
		if value, ok := v.Addr().Interface().(*Value); ok {
			return do(value)
		}
		for i := range v.NumField() {
			if err := eachValue(v.Field(i), do); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := eachValue(v.Index(i), do); err != nil {
				return err
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return eachValue(v.Elem(), do)
		}
	default:
	}
	return nil
}

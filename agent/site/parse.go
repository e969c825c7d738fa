package site

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
)

// MaxFile is the largest file of sites in bytes. It also bounds how deep
// expressions can nest.
const MaxFile = 1 << 20

// Parse reads the sites of a file, in HCL or, if it begins with '{', in JSON,
// fills in the defaults and checks each. What it does not know is an error.
// All mistakes are reported together, each a *FieldError with its place.
// filename is only for the errors. normalize makes the stored form of a server
// name; nil changes ASCII to lower case and drops a trailing dot.
func Parse(src []byte, filename string, normalize func(string) (string, error)) ([]Site, error) {
	if normalize == nil {
		normalize = lowerName
	}
	r := &reader{file: filename, normalize: normalize, seen: map[string]hcl.Range{}}
	if len(src) > MaxFile {
		r.add(hcl.Range{Start: hcl.InitialPos}, "", "", fmt.Sprintf("the file has more than %d bytes", MaxFile), "split it")
		return nil, joined(r.list)
	}
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	var file *hcl.File
	var diags hcl.Diagnostics
	if bytes.HasPrefix(bytes.TrimSpace(src), []byte("{")) {
		file, diags = json.Parse(src, filename)
	} else {
		file, diags = hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	}
	if r.diagnose(diags, "", ""); file != nil && !diags.HasErrors() {
		r.sites(file.Body)
	}
	if len(r.list) > 0 {
		slices.SortStableFunc(r.list, func(a, b *FieldError) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		return nil, joined(r.list)
	}
	return r.found, nil
}

// reader carries one file into sites.
type reader struct {
	file      string
	normalize func(string) (string, error)
	list      []*FieldError
	found     []Site
	seen      map[string]hcl.Range // by ID
	ranges    map[string]hcl.Range // of the site being read, by field
	bad       map[string]bool      // fields that were refused
}

func (r *reader) add(at hcl.Range, site, field, what, hint string) {
	r.list = append(r.list, &FieldError{
		File: r.file, Line: max(at.Start.Line, 1), Column: max(at.Start.Column, 1), Site: site, Field: field, What: what, Hint: hint,
	})
}

// diagnose takes over what the parser of the file has found.
func (r *reader) diagnose(diags hcl.Diagnostics, site, field string) {
	for _, d := range diags {
		at := hcl.Range{Start: hcl.InitialPos}
		if d.Subject != nil {
			at = *d.Subject
		}
		what := strings.ToLower(d.Summary[:1]) + d.Summary[1:]
		r.add(at, site, field, what, strings.TrimSuffix(strings.Join(strings.Fields(d.Detail), " "), "."))
	}
}

func (r *reader) sites(body hcl.Body) {
	content, diags := body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "site", LabelNames: []string{"id"}}}})
	if r.diagnose(diags, "", ""); content == nil {
		return
	}
	for _, b := range content.Blocks {
		r.site(b)
	}
	if len(content.Blocks) == 0 && len(r.list) == 0 {
		r.add(hcl.Range{Start: hcl.InitialPos}, "", "", "there is no site in it", `begin with site "shop" { ... }`)
	}
}

func (r *reader) site(b *hcl.Block) {
	s := New(b.Labels[0])
	if first, twice := r.seen[s.ID]; twice {
		r.add(b.DefRange, s.ID, "", "it is there twice", fmt.Sprintf("remove this or the one in line %d", first.Start.Line))
		return
	}
	r.seen[s.ID], r.ranges, r.bad = b.DefRange, map[string]hcl.Range{"": b.DefRange}, map[string]bool{}
	r.block(b.Body, layout(&s, r.normalize), s.ID, "")
	for _, e := range append(problems(s), ineffective(s)...) {
		if r.isBad(e.Field) {
			continue
		}
		at := r.place(e.Field)
		e.File, e.Line, e.Column = r.file, max(at.Start.Line, 1), max(at.Start.Column, 1)
		r.list = append(r.list, e)
	}
	r.found = append(r.found, s)
}

// place is where a field stands, or the block that it is missing in.
func (r *reader) place(field string) hcl.Range {
	for {
		if at, ok := r.ranges[field]; ok {
			return at
		}
		above := strings.LastIndexByte(field, '.')
		field = field[:max(above, 0)]
	}
}

// isBad reports whether the field, or the block that it is in, was refused
// already.
func (r *reader) isBad(field string) bool {
	block, _, _ := strings.Cut(field, ".")
	return r.bad[field] || r.bad[block]
}

// block reads one block: attributes and blocks in it, each at most once.
func (r *reader) block(body hcl.Body, l block, site, path string) {
	schema := &hcl.BodySchema{}
	for _, a := range l.attributes {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: a.name})
	}
	for _, b := range l.blocks {
		schema.Blocks = append(schema.Blocks, hcl.BlockHeaderSchema{Type: b.name})
	}
	content, diags := body.Content(schema)
	if r.diagnose(diags, site, strings.TrimSuffix(path, ".")); content == nil {
		return
	}
	for _, a := range l.attributes {
		if got := content.Attributes[a.name]; got != nil {
			r.attribute(got, a, site, path+a.name)
		}
	}
	for _, inner := range l.blocks {
		for i, b := range content.Blocks.OfType(inner.name) {
			if i > 0 {
				r.add(b.DefRange, site, path+inner.name, "it is there twice", "merge the blocks")
				continue
			}
			r.ranges[path+inner.name] = b.DefRange
			r.block(b.Body, inner.begin(), site, path+inner.name+".")
		}
	}
}

func (r *reader) attribute(got *hcl.Attribute, a attribute, site, field string) {
	r.ranges[field] = got.NameRange
	value, diags := got.Expr.Value(nil)
	if diags.HasErrors() {
		r.bad[field] = true
		r.diagnose(diags, site, field)
		return
	}
	if err := a.set(value); err != nil {
		r.bad[field] = true
		r.add(got.Expr.Range(), site, field, err.Error(), a.give)
	}
}

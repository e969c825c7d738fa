package renderer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	crossplane "github.com/nginxinc/nginx-go-crossplane"

	"github.com/tlsfleet/tlsfleet/templates"
)

// errSiteText means that the text of a site is not what the site says.
var errSiteText = errors.New("the text is not what the site says")

// siteChecker compares texts of sites with the sites. The zero value is ready;
// check may be called concurrently.
type siteChecker struct {
	shapes sync.Map // text -> crossplane.Directives: most sites are alike
}

// check reads the text of a site as nginx does. It has to have the same
// directives, with as many arguments, as the same text with one word for each
// value, and each argument has to be just what the values make of it: so no
// value ends a directive or begins another, whatever the template. Server names,
// sockets, servers of the upstream, TLS versions and the verification of client
// certificates have to be those of the site. Lines are those of the text.
func (c *siteChecker) check(r templates.Rendered, want templates.Site) error {
	text, err := parseSite(r.File.Name, r.File.Text)
	if err != nil {
		return err
	}
	shape, err := c.shape(r.File.Name, r.Shape)
	if err != nil {
		return err
	}
	words := make([]string, 0, 2*len(r.Values))
	for i, v := range r.Values {
		words = append(words, templates.Placeholder(i), asParsed(v))
	}
	if err := sameShape(text, shape, strings.NewReplacer(words...)); err != nil {
		return err
	}
	return checkServers(text, want)
}

func (c *siteChecker) shape(name string, text []byte) (crossplane.Directives, error) {
	if known, ok := c.shapes.Load(string(text)); ok {
		if shape, ok := known.(crossplane.Directives); ok {
			return shape, nil
		}
	}
	shape, err := parseSite(name, text)
	if err == nil {
		c.shapes.Store(string(text), shape)
	}
	return shape, err
}

// asParsed is a value as the parser gives it: a backslash stays as it is written.
func asParsed(value string) string { return strings.ReplaceAll(value, `\`, `\\`) }

// parseSite parses one file without what it includes. Errors have its name.
func parseSite(name string, text []byte) (crossplane.Directives, error) {
	o := parseOptions()
	o.SingleFile, o.StopParsingOnError = true, true
	o.Open = func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	p, err := crossplane.Parse(name, o)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSiteText, err)
	}
	if len(p.Config) != 1 {
		return nil, fmt.Errorf("%w: %d files", errSiteText, len(p.Config))
	}
	if len(p.Config[0].Errors) > 0 {
		return nil, fmt.Errorf("%w: %w", errSiteText, p.Config[0].Errors[0].Error)
	}
	return p.Config[0].Parsed, nil
}

// sameShape compares what was parsed with its shape.
func sameShape(text, shape crossplane.Directives, values *strings.Replacer) error {
	if len(text) != len(shape) {
		return fmt.Errorf("%w: %d directives, want %d", errSiteText, len(text), len(shape))
	}
	for i, d := range text {
		w := shape[i]
		if d.Directive != w.Directive || len(d.Args) != len(w.Args) || (d.Block == nil) != (w.Block == nil) {
			return fmt.Errorf("%w: line %d is %s with %d arguments, want %s with %d", errSiteText, d.Line, d.Directive, len(d.Args), w.Directive, len(w.Args))
		}
		for n, arg := range d.Args {
			if wanted := values.Replace(w.Args[n]); arg != wanted {
				return fmt.Errorf("%w: line %d: %s has %.200q, want %.200q", errSiteText, d.Line, d.Directive, arg, wanted)
			}
		}
		if err := sameShape(d.Block, w.Block, values); err != nil {
			return err
		}
	}
	return nil
}

// distinct is the words, sorted, each once.
func distinct(words []string) []string { return slices.Compact(slices.Sorted(slices.Values(words))) }

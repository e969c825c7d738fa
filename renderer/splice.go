package renderer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"

	crossplane "github.com/nginxinc/nginx-go-crossplane"

	"github.com/tlsfleet/tlsfleet/templates"
)

type directive = crossplane.Directive

var includePattern = regexp.MustCompile(`(?:^|[\s;{}])(include)\s+("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s;{}"']+)\s*;`)

// moveIncludes puts root in front of the absolute paths of include
// directives in the text of a file. Everything else stays byte for byte, so
// quotes, regular expressions and line numbers are the operator's. The result
// is parsed again and must differ in nothing else.
func moveIncludes(text []byte, ds []at, root string) ([]byte, error) {
	before, err := parseText(text)
	if err != nil {
		return nil, err
	}
	moved := bytes.Clone(text)
	for _, d := range ds {
		if !filepath.IsAbs(d.Args[0]) {
			continue
		}
		if moved, err = moveInclude(moved, d, root); err != nil {
			return nil, err
		}
	}
	after, err := parseText(moved)
	if err != nil {
		return nil, err
	}
	change := map[string]string{}
	for _, d := range ds {
		if filepath.IsAbs(d.Args[0]) {
			change[fmt.Sprint(d.Line, " ", d.Args[0])] = root + d.Args[0]
		}
	}
	replaceArgs(before, change)
	if !same(before, after) {
		return nil, errors.New("an include cannot be replaced without changing something else")
	}
	return moved, nil
}

// moveInclude replaces the path of one include directive.
func moveInclude(text []byte, d at, root string) ([]byte, error) {
	from := lineStart(text, d.Line)
	for _, m := range includePattern.FindAllSubmatchIndex(text[from:], -1) {
		if bytes.IndexByte(text[from:from+m[2]], '\n') >= 0 {
			break // a later line
		}
		start, end := from+m[4], from+m[5]
		if unquote(string(text[start:end])) != d.Args[0] {
			continue
		}
		path, err := templates.Quote(root + d.Args[0])
		if err != nil {
			return nil, err
		}
		return bytes.Join([][]byte{text[:start], []byte(path), text[end:]}, nil), nil
	}
	return nil, fmt.Errorf("include %s is not found on line %d", d.Args[0], d.Line)
}

// unquote reads a token as the parser does.
func unquote(token string) string {
	if q := token[:1]; q == `"` || q == "'" {
		return strings.ReplaceAll(token[1:len(token)-1], `\`+q, q)
	}
	return token
}

// lineStart is the offset of a line, counted from 1.
func lineStart(text []byte, line int) int {
	at := 0
	for ; line > 1; line-- {
		next := bytes.IndexByte(text[at:], '\n')
		if next < 0 {
			return len(text)
		}
		at += next + 1
	}
	return at
}

func parseText(text []byte) (crossplane.Directives, error) {
	o := parseOptions()
	o.SingleFile = true
	o.ParseComments = true
	o.Open = func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	p, err := crossplane.Parse("text", o)
	if err != nil {
		return nil, err
	}
	if len(p.Errors) > 0 {
		return nil, p.Errors[0].Error
	}
	return p.Config[0].Parsed, nil
}

func replaceArgs(ds crossplane.Directives, change map[string]string) {
	for _, d := range ds {
		if d.Directive == "include" && len(d.Args) == 1 {
			if to, ok := change[fmt.Sprint(d.Line, " ", d.Args[0])]; ok {
				d.Args[0] = to
			}
		}
		replaceArgs(d.Block, change)
	}
}

func same(a, b crossplane.Directives) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

package config

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxFile is the largest configuration file in bytes. It also bounds how deep
// expressions can nest.
const maxFile = 64 << 10

// Load reads and checks the file at path and fills in the defaults. All
// mistakes in it are reported together, one *Error each, in one joined error.
func Load(path string) (Config, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	src, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(src, path)
}

// Parse is Load for text already read; filename is only for the errors.
func Parse(src []byte, filename string) (Config, error) {
	r := &reader{cfg: Default(), lines: map[string]int{}, bad: map[string]bool{}, mistakes: mistakes{file: filename}}
	if len(src) > maxFile {
		r.add(1, fmt.Sprintf("the file is larger than %d KiB", maxFile>>10), "give the path of a tlsfleet configuration")
		return Config{}, r.err()
	}
	file, diags := hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	r.syntax(diags, "")
	if file == nil || diags.HasErrors() {
		return Config{}, r.err()
	}
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok {
		return Config{}, fmt.Errorf("read configuration: body is a %T", file.Body)
	}
	r.file(body)
	r.finish()
	if err := r.err(); err != nil {
		return Config{}, err
	}
	return r.cfg, nil
}

// reader carries one file into a Config.
type reader struct {
	mistakes
	cfg   Config
	lines map[string]int  // "ticket.rotate_every" -> its line; "ticket" -> its block's
	bad   map[string]bool // attributes that were refused
}

func (r *reader) file(body *hclsyntax.Body) {
	blocks := layout(&r.cfg)
	known := map[string]block{}
	for _, b := range blocks {
		known[b.name] = b
	}
	r.attributes(blocks, blocks[0], body)
	for _, hb := range body.Blocks {
		line := hb.TypeRange.Start.Line
		read := func(b block) { r.block(blocks, b, hb) }
		switch hb.Type {
		case "ca":
			r.ca(hb.Labels, line, read)
			continue
		case "dns":
			r.dns(hb.Labels, line, read)
			continue
		case "notify":
			r.notify(hb.Labels, line, read)
			continue
		case "archive":
			r.archive(hb.Labels, line, read)
			continue
		}
		b, ok := known[hb.Type]
		first, twice := r.lines[hb.Type]
		switch {
		case !ok || hb.Type == "":
			r.add(line, fmt.Sprintf("unknown block %q", hb.Type), "known are "+blockNames(blocks))
			continue
		case twice:
			r.add(line, fmt.Sprintf("second block %q", hb.Type), fmt.Sprintf("merge it into the one in line %d", first))
			continue
		case len(hb.Labels) > 0:
			r.add(line, fmt.Sprintf("block %q has a label", hb.Type), "write "+hb.Type+" { ... }")
		}
		r.lines[hb.Type] = line
		r.block(blocks, b, hb)
	}
}

// block reads what is in one block.
func (r *reader) block(blocks []block, b block, hb *hclsyntax.Block) {
	r.attributes(blocks, b, hb.Body)
	for _, inner := range hb.Body.Blocks {
		r.add(inner.TypeRange.Start.Line, fmt.Sprintf("unknown block %q in %s", inner.Type, hb.Type),
			"close "+hb.Type+" before it")
	}
}

// attributes reads the settings of one block.
func (r *reader) attributes(blocks []block, b block, body *hclsyntax.Body) {
	known := map[string]attribute{}
	for _, a := range b.attrs {
		known[a.name] = a
	}
	for name, ha := range body.Attributes {
		full := join(b.name, name)
		line := ha.NameRange.Start.Line
		a, ok := known[name]
		if !ok {
			r.add(line, fmt.Sprintf("unknown attribute %q", full), whereTo(blocks, b, name))
			continue
		}
		r.lines[full] = line
		v, diags := ha.Expr.Value(nil)
		if diags.HasErrors() {
			r.syntax(diags, full+": ")
			r.bad[full] = true
			continue
		}
		if m := a.set(v); m != nil {
			r.add(line, full+": "+m.what, m.hint)
			r.bad[full] = true
		}
	}
}

// syntax adds what the HCL parser found. Its texts name no value.
func (r *reader) syntax(diags hcl.Diagnostics, prefix string) {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		line := 1
		if d.Subject != nil {
			line = d.Subject.Start.Line
		}
		what := strings.ToLower(d.Summary[:1]) + d.Summary[1:]
		r.add(line, prefix+what, strings.TrimSuffix(strings.Join(strings.Fields(d.Detail), " "), "."))
	}
}

// whereTo tells in which block a misplaced attribute is known, or which ones
// are known in this block.
func whereTo(blocks []block, here block, name string) string {
	names := make([]string, len(here.attrs))
	for i, a := range here.attrs {
		names[i] = a.name
	}
	for _, b := range blocks {
		for _, a := range b.attrs {
			if a.name != name {
				continue
			}
			if b.name == "" {
				return "move it out of the block"
			}
			return "move it into " + b.name + " { ... }"
		}
	}
	return "known are " + strings.Join(names, ", ")
}

func blockNames(blocks []block) string {
	var names []string
	for _, b := range blocks[1:] {
		names = append(names, b.name)
	}
	return strings.Join(names, ", ")
}

func join(block, name string) string {
	if block == "" {
		return name
	}
	return block + "." + name
}

// Command licences writes the licences of everything that is linked into
// tlsfleet: of Go itself and of each module, equal texts once.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const program = "./cmd/tlsfleet"

// licenceFile matches the files that a module's terms are in.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|unlicense)([-.].*)?$`)

// linked is a module, or Go itself, with the folder of its source.
type linked struct{ Path, Version, Dir string }

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(w io.Writer) error {
	modules, err := modules()
	if err != nil {
		return err
	}
	owners := map[string][]string{} // by text
	for _, m := range modules {
		texts, err := terms(m)
		if err != nil {
			return err
		}
		for _, text := range texts {
			owners[text] = append(owners[text], strings.TrimSpace(m.Path+" "+m.Version))
		}
	}
	out := "tlsfleet is linked from these works, under their own terms.\n"
	for _, text := range slices.SortedFunc(maps.Keys(owners), func(a, b string) int {
		return cmp.Or(strings.Compare(owners[a][0], owners[b][0]), strings.Compare(a, b))
	}) {
		out += fmt.Sprintf("\n%s\n%s\n\n%s\n", strings.Repeat("=", 78), strings.Join(owners[text], "\n"), text)
	}
	_, err = io.WriteString(w, out)
	return err
}

// modules lists what is linked, sorted by path.
func modules() ([]linked, error) {
	out, err := goOutput("list", "-deps", "-json=Standard,Module", program)
	if err != nil {
		return nil, err
	}
	root, err := goOutput("env", "GOROOT", "GOVERSION")
	if err != nil {
		return nil, err
	}
	goroot, version, _ := strings.Cut(strings.TrimSpace(string(root)), "\n")
	all := map[string]linked{"": {"Go", version, goroot}}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg struct {
			Standard bool
			Module   *struct {
				linked
				Main    bool
				Replace *linked
			}
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("list modules: %w", err)
		}
		if m := pkg.Module; m != nil && !m.Main {
			one := m.linked
			if m.Replace != nil {
				one = *m.Replace
			}
			all[one.Path] = one
		}
	}
	var list []linked
	for _, m := range all {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b linked) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

func goOutput(args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...) //nolint:gosec,noctx // constant arguments, ends by itself
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", args[0], err)
	}
	return out, nil
}

// terms are the texts of a module's licence files.
func terms(m linked) ([]string, error) {
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return nil, fmt.Errorf("read licence of %s: %w", m.Path, err)
	}
	var texts []string
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read licence of %s: %w", m.Path, err)
		}
		texts = append(texts, strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n")))
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("read licence of %s: no licence file in %s", m.Path, m.Dir)
	}
	return texts, nil
}

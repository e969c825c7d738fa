package agent_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tlsfleet/tlsfleet/"

// layers are the packages from the words of the domain up to the commands. A
// package may import those of lower layers only, never its neighbours.
var layers = [][]string{
	{"agent/fleet"},
	{"agent/ticket", "agent/seal", "agent/bundle", "agent/inventory", "agent/issuance", "agent/site", "templates"},
	{"renderer", "handlers", "agent/consul"},
	{"agent/store", "agent/leader", "agent/issuer", "agent/issuer/dns01", "agent/importer", "agent/config", "agent/probe", "agent/status", "agent/status/web", "agent/metrics", "agent/notify", "agent/archive", "agent/doctor"},
	{"agent"},
	{"cmd/tlsfleet"},
}

// only says who may import a package and what is below it. Nobody may import
// what has an empty list; tests are not asked.
var only = map[string][]string{
	module + "agent/consul":           {"agent/store", "agent/leader"},
	module + "agent/testkit":          {},
	"github.com/hashicorp/consul/api": {"agent/consul", "agent/store", "agent/leader", "agent/testkit"},
	"github.com/urfave/cli":           {"cmd/tlsfleet"},
	"github.com/go-acme/lego":         {"agent/issuer", "agent/issuer/dns01"},
}

// mayImport is why package from (a path inside the module) must not import to
// (a full import path), or nil.
func mayImport(from, to string) error {
	for path, importers := range only {
		if (to == path || strings.HasPrefix(to, path+"/")) && !slices.Contains(importers, from) {
			return fmt.Errorf("%s imports %s: only %v may", from, to, importers)
		}
	}
	to, inside := strings.CutPrefix(to, module)
	if !inside {
		if from == "agent/fleet" && strings.Contains(strings.Split(to, "/")[0], ".") {
			return fmt.Errorf("%s imports %s: it has to do with the standard library", from, to)
		}
		return nil
	}
	low, high := layer(to), layer(from)
	if from != "agent/testkit" && high < 0 {
		return fmt.Errorf("%s imports %s: %s has no place in the layers", from, to, from)
	}
	if low < 0 || low >= high {
		return fmt.Errorf("%s imports %s: not a lower layer", from, to)
	}
	return nil
}

// layer is the index of the layer a package is in, or -1.
func layer(pkg string) int {
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, pkg) })
}

func TestPackagesImportOnlyLowerLayers(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", module+"...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list packages: %v\n%s", err, stderr.String())
	}
	edges := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("list packages: %v", err)
		}
		for _, to := range pkg.Imports {
			edges++
			if err := mayImport(strings.TrimPrefix(pkg.ImportPath, module), to); err != nil {
				t.Error(err)
			}
		}
	}
	if edges == 0 {
		t.Error("list packages: no import found, want many")
	}
}

func TestMayImport(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		from, to string
		ok       bool
	}{
		"down one layer":            {"agent/ticket", module + "agent/fleet", true},
		"down several layers":       {"cmd/tlsfleet", module + "agent/fleet", true},
		"neighbour":                 {"agent/store", module + "agent/leader", false},
		"neighbour below":           {"renderer", module + "handlers", false},
		"up":                        {"agent/ticket", module + "agent/store", false},
		"up to the process":         {"renderer", module + "agent", false},
		"fleet, standard library":   {"agent/fleet", "encoding/json", true},
		"fleet, outside":            {"agent/fleet", "golang.org/x/crypto/hkdf", false},
		"seal, outside":             {"agent/seal", "golang.org/x/crypto/hkdf", true},
		"new package":               {"agent/surprise", module + "agent/fleet", false},
		"of a new package":          {"agent", module + "agent/surprise", false},
		"consul/api in store":       {"agent/store", "github.com/hashicorp/consul/api", true},
		"consul/api in agent":       {"agent", "github.com/hashicorp/consul/api", false},
		"below consul/api in agent": {"agent", "github.com/hashicorp/consul/api/watch", false},
		"consul in store":           {"agent/store", module + "agent/consul", true},
		"consul in agent":           {"agent", module + "agent/consul", false},
		"cli in cmd":                {"cmd/tlsfleet", "github.com/urfave/cli/v2", true},
		"cli in agent":              {"agent", "github.com/urfave/cli/v2", false},
		"lego in store":             {"agent/store", "github.com/go-acme/lego/v4/certificate", false},
		"lego's DNS in dns01":       {"agent/issuer/dns01", "github.com/go-acme/lego/v4/challenge/dns01", true},
		"dns01 in issuer":           {"agent/issuer", module + "agent/issuer/dns01", false},
		"testkit in agent":          {"agent", module + "agent/testkit", false},
		"testkit, product":          {"agent/testkit", module + "agent/store", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := mayImport(tt.from, tt.to); (err == nil) != tt.ok {
				t.Errorf("mayImport(%s, %s) = %v, want allowed: %t", tt.from, tt.to, err, tt.ok)
			}
		})
	}
}

package main

import (
	"slices"
	"strings"
	"testing"
)

func TestFlagsFirst(t *testing.T) {
	tests := map[string]struct{ args, want string }{
		"none":               {"", ""},
		"program alone":      {"tlsfleet", "tlsfleet"},
		"first already":      {"tlsfleet cert show --format json a.test", "tlsfleet cert show --format json a.test"},
		"after":              {"tlsfleet cert show a.test --format json", "tlsfleet cert show --format json a.test"},
		"between":            {"tlsfleet cert remove a.test --yes b.test -c x c.test", "tlsfleet cert remove --yes -c x a.test b.test c.test"},
		"with =":             {"tlsfleet cert show a.test --format=json b", "tlsfleet cert show --format=json a.test b"},
		"one dash":           {"tlsfleet cert show a.test -format json", "tlsfleet cert show -format json a.test"},
		"bool":               {"tlsfleet cert import a --force b", "tlsfleet cert import --force a b"},
		"unknown flag":       {"tlsfleet cert show a.test --nope b", "tlsfleet cert show --nope a.test b"},
		"value missing":      {"tlsfleet cert show a.test --format", "tlsfleet cert show --format a.test"},
		"after --":           {"tlsfleet cert import --force -- --odd -f", "tlsfleet cert import --force -- --odd -f"},
		"before and after":   {"tlsfleet cert import a --force -- --odd", "tlsfleet cert import --force -- a --odd"},
		"dash is a word":     {"tlsfleet cert import - --force", "tlsfleet cert import --force -"},
		"help":               {"tlsfleet cert show a.test --help", "tlsfleet cert show --help"},
		"unknown command":    {"tlsfleet crt show a --force", "tlsfleet crt show a --force"},
		"unknown subcommand": {"tlsfleet cert shw a --format json", "tlsfleet cert shw a --format json"},
		"completion":         {"tlsfleet cert show a --format --generate-bash-completion", "tlsfleet cert show a --format --generate-bash-completion"},
	}
	commands := newApp(nil, nil, nil).Commands
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			args := strings.Fields(tt.args)
			given := slices.Clone(args)
			if got := strings.Join(flagsFirst(commands, args), " "); got != tt.want {
				t.Errorf("flagsFirst(%s) = %s, want %s", tt.args, got, tt.want)
			}
			if !slices.Equal(args, given) {
				t.Errorf("flagsFirst() changed its argument to %v", args)
			}
		})
	}
}

package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst moves a command's flags in front of its arguments, because the
// flag parser stops at the first argument: `cert show NAME --format json` is
// `cert show --format json NAME`. What follows "--" are arguments.
func flagsFirst(commands []*cli.Command, args []string) []string {
	if len(args) == 0 || slices.Contains(args, "--generate-bash-completion") {
		return args
	}
	for i, arg := range args[1:] {
		n := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(arg) })
		if n < 0 {
			break
		}
		command := commands[n]
		if commands = command.Subcommands; len(commands) == 0 {
			return append(slices.Clone(args[:i+2]), reorder(command.Flags, args[i+2:])...)
		}
	}
	return args
}

// reorder puts the flags with their values before the arguments.
func reorder(flags []cli.Flag, args []string) []string {
	var first, rest []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return slices.Concat(first, []string{"--"}, rest, args[i+1:])
		}
		if slices.Contains([]string{"--help", "-help", "-h"}, arg) {
			return []string{"--help"} // which would take an argument for a topic
		}
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
			continue
		}
		first = append(first, arg)
		if takesValue(flags, arg) && i+1 < len(args) {
			i++
			first = append(first, args[i])
		}
	}
	return append(first, rest...)
}

// takesValue reports whether the next word belongs to the flag.
func takesValue(flags []cli.Flag, arg string) bool {
	name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	if hasValue {
		return false
	}
	for _, f := range flags {
		if _, isBool := f.(*cli.BoolFlag); !isBool && slices.Contains(f.Names(), name) {
			return true
		}
	}
	return false
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a mistake on the command line or in the configuration.
type usageError struct {
	err  error
	hint string
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// hinted is a failure with advice.
type hinted struct {
	err  error
	hint string
}

func (e hinted) Error() string { return e.err.Error() }
func (e hinted) Unwrap() error { return e.err }

// quiet ends the program with a code of its own: the answer is on stdout.
type quiet struct{ code int }

func (e quiet) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// run is the whole program: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := newApp(stdin, stdout, stderr)
	err := app.RunContext(ctx, flagsFirst(app.Commands, args))
	if err == nil {
		return exitDone
	}
	code, hint := exitFailed, ""
	var u usageError
	var h hinted
	var q quiet
	switch {
	case errors.As(err, &q):
		return q.code
	case errors.As(err, &u):
		code, hint = exitUsage, u.hint
	case errors.As(err, &h):
		hint = h.hint
	}
	complain(stderr, err, hint)
	return code
}

func complain(w io.Writer, err error, hint string) {
	text := fmt.Sprintf("error: %v\n", err)
	if hint != "" {
		text += fmt.Sprintf("hint: %s\n", hint)
	}
	if _, err := io.WriteString(w, text); err != nil {
		os.Exit(exitFailed) // nobody can be told
	}
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:                 "tlsfleet",
		Usage:                "keep the TLS side of a fleet of nginx hosts identical",
		Version:              version,
		Reader:               stdin,
		Writer:               stdout,
		ErrWriter:            stderr,
		HideHelpCommand:      true,
		HideVersion:          true,
		EnableBashCompletion: true,
		Suggest:              true,
		Action:               group,
		OnUsageError:         badUsage,
		ExitErrHandler:       func(*cli.Context, error) {},
		Commands: []*cli.Command{
			agentCommand(),
			rotateCommand(),
			ticketCommand(),
			certCommand(),
			domainCommand(),
			siteCommand(),
			planCommand(),
			statusCommand(),
			eventCommand(),
			restoreCommand(),
			backupCommand(),
			restoreFleetCommand(),
			keyringCommand(),
			nodeCommand(),
			policyCommand(),
			doctorCommand(),
			completionCommand(),
			manCommand(),
			versionCommand(),
		},
	}
}

// group is the action of a command that only holds others: it explains itself,
// and refuses a name that it does not know.
func group(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return usageError{fmt.Errorf("there is no command %q", c.Command.FullName()+" "+name), "run `" + c.App.Name + " --help` for the commands"}
	}
	if err := cli.ShowSubcommandHelp(c); err != nil {
		return err
	}
	return usageError{errors.New("a command is missing"), "choose one of the commands above"}
}

func badUsage(_ *cli.Context, err error, _ bool) error {
	return usageError{err, "run the command with --help for its flags"}
}

// noArguments refuses words that would be ignored.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return usageError{fmt.Errorf("%s takes no argument, got %q", c.Command.FullName(), c.Args().First()), "run it with --help for its flags"}
	}
	return nil
}

func leaf(name, usage, description string, flags []cli.Flag, action cli.ActionFunc) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, Description: description, Flags: flags,
		Before: noArguments, Action: action, OnUsageError: badUsage, HideHelpCommand: true,
	}
}

func versionCommand() *cli.Command {
	return leaf("version", "print the version", "", nil, func(c *cli.Context) error {
		_, err := fmt.Fprintln(c.App.Writer, version)
		return err
	})
}

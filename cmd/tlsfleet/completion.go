package main

import (
	_ "embed"
	"fmt"

	"github.com/urfave/cli/v2"
)

var (
	//go:embed completion/tlsfleet.bash
	bashCompletion string
	//go:embed completion/tlsfleet.zsh
	zshCompletion string
)

func completionCommand() *cli.Command {
	script := func(text string) cli.ActionFunc {
		return func(c *cli.Context) error {
			_, err := fmt.Fprint(c.App.Writer, text)
			return err
		}
	}
	return &cli.Command{
		Name: "completion", Usage: "print the completion script of a shell", Action: group, HideHelpCommand: true, OnUsageError: badUsage,
		Subcommands: []*cli.Command{
			leaf("bash", "for bash", "To try it: source <(tlsfleet completion bash)", nil, script(bashCompletion)),
			leaf("zsh", "for zsh", "To try it: source <(tlsfleet completion zsh)", nil, script(zshCompletion)),
			leaf("fish", "for fish", "To try it: tlsfleet completion fish | source", nil, fishCompletion),
		},
	}
}

func fishCompletion(c *cli.Context) error {
	text, err := c.App.ToFishCompletion()
	if err != nil {
		return fmt.Errorf("make completion: %w", err)
	}
	_, err = fmt.Fprint(c.App.Writer, text)
	return err
}

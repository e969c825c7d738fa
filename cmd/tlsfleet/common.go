package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/user"

	"github.com/hashicorp/go-hclog"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/config"
)

const defaultConfig = "/etc/tlsfleet/tlsfleet.hcl"

func configFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "config", Aliases: []string{"c"}, Value: defaultConfig, EnvVars: []string{"TLSFLEET_CONFIG"},
		Usage: "configuration `FILE`", TakesFile: true,
	}
}

func formatFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "format", Value: "table", Usage: "`table` or json",
		Action: func(_ *cli.Context, v string) error {
			if v != "table" && v != "json" {
				return usageError{fmt.Errorf("--format %q is not known", v), "use --format table or --format json"}
			}
			return nil
		},
	}
}

// load reads the configuration that the command line names.
func load(c *cli.Context) (config.Config, error) {
	cfg, err := config.Load(c.String("config"))
	if err != nil {
		return cfg, usageError{err: err}
	}
	return cfg, nil
}

// console opens the fleet for a command that talks to Consul itself. Only
// warnings are logged: the command's own output is its answer.
func console(c *cli.Context) (*agent.Console, config.Config, error) {
	cfg, err := load(c)
	if err != nil {
		return nil, cfg, err
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "tlsfleet", Level: hclog.Error, Output: c.App.ErrWriter})
	con, err := agent.OpenConsole(cfg, log)
	if err != nil {
		return nil, cfg, startError(err)
	}
	return con, cfg, nil
}

// logger is the agent's log as the configuration asks for it.
func logger(cfg config.Log, w io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "tlsfleet", Level: hclog.LevelFromString(cfg.Level), Output: w, JSONFormat: cfg.Format == "json",
	})
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newTable(w io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.AppendHeader(header)
	return t
}

// operator names who runs the command, for the ring's record.
func operator() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

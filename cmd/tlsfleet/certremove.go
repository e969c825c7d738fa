package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/tlsfleet/tlsfleet/agent"
)

// mostShown is how many lines of one kind a command prints; JSON has all.
const mostShown = 20

func certRemoveCommand() *cli.Command {
	return withArguments(leaf("remove", "take names out of the fleet",
		"Takes names out of the inventory: every node stops serving them. A wildcard is removed by itself, and\n"+
			"serves no name under it any more. All names are removed, or none if one of them is not known. Asks first;\nwithout a terminal --yes is needed.",
		[]cli.Flag{configFlag(), formatFlag(), &cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}},
		certRemove), "NAME...", 1, int(^uint(0)>>1))
}

func certRemove(c *cli.Context) error {
	names := c.Args().Slice()
	asking := isTerminalInput(c.App.Reader)
	if !c.Bool("yes") && !asking {
		return usageError{errors.New("cert remove needs --yes where nobody can be asked"), "stdin is not a terminal"}
	}
	con, _, err := console(c)
	if err != nil {
		return err
	}
	if !c.Bool("yes") {
		plan, err := con.PlanRemoval(c.Context, names)
		if err != nil {
			return explainCert(err)
		}
		if ok, err := confirmRemoval(c, plan); err != nil || !ok {
			return err
		}
	}
	r, err := con.RemoveCertificates(c.Context, names)
	if err != nil && len(r.Removed) == 0 {
		return explainCert(err)
	}
	return cmp.Or(printRemoval(c, r), explainCert(err))
}

func printRemoval(c *cli.Context, r agent.CertificateRemoval) error {
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, r)
	}
	lines := []string{"removed " + count(len(r.Removed), "name")}
	if r.Epoch > 0 {
		lines[0] += fmt.Sprintf(", inventory epoch %d", r.Epoch)
	}
	if len(r.Gone) > 0 {
		lines = append(lines, "removed before: "+strings.Join(r.Gone, " "))
	}
	return printLines(c.App.Writer, lines...)
}

// confirmRemoval shows what would be removed and asks.
func confirmRemoval(c *cli.Context, r agent.CertificateRemoval) (bool, error) {
	if len(r.Removed) == 0 {
		return true, nil
	}
	var lines []string
	for _, s := range r.Removed {
		lines = append(lines, fmt.Sprintf("  %s (%s, until %s)", s.Name, s.Issuer, s.NotAfter.Format(time.DateOnly)))
	}
	lines = append([]string{"No node will serve these names any more:"}, most(lines)...)
	return confirm(c, lines, fmt.Sprintf("Remove %s?", count(len(r.Removed), "name")))
}

// confirm asks on the terminal. No is a decision, not a failure.
func confirm(c *cli.Context, lines []string, question string) (bool, error) {
	yes, err := ask(c, lines, question)
	if err == nil && !yes {
		err = printLines(c.App.ErrWriter, "nothing was removed")
	}
	return yes, err
}

// ask asks on the terminal; anything but yes is no.
func ask(c *cli.Context, lines []string, question string) (bool, error) {
	if err := printLines(c.App.ErrWriter, lines...); err != nil {
		return false, err
	}
	if _, err := fmt.Fprintf(c.App.ErrWriter, "%s [y/N] ", question); err != nil {
		return false, err
	}
	answer, err := waitFor(c.Context, func() (string, error) { return bufio.NewReader(c.App.Reader).ReadString('\n') })
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read answer: %w", err)
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// most cuts a list for people.
func most(lines []string) []string {
	if len(lines) <= mostShown {
		return lines
	}
	return append(lines[:mostShown:mostShown], fmt.Sprintf("  ... and %d more", len(lines)-mostShown))
}

func isTerminalInput(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

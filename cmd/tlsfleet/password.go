package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/importer"
)

// maxPassword is the longest password file in bytes.
const maxPassword = 4 << 10

// passwords gives the password of a file.
type passwords func(path string) (fleet.Secret, error)

// passwordSource says where passwords come from: the file of --password-file,
// else the terminal, else nowhere.
func passwordSource(c *cli.Context) (passwords, error) {
	if file := c.String("password-file"); file != "" {
		password, err := readPassword(file, c.App.Reader)
		if err != nil {
			return nil, usageError{err: err}
		}
		return func(string) (fleet.Secret, error) { return password, nil }, nil
	}
	if !isTerminalInput(c.App.Reader) {
		return func(string) (fleet.Secret, error) {
			return fleet.Secret{}, fmt.Errorf("%w: give it with --password-file", importer.ErrNoPassword)
		}, nil
	}
	return func(path string) (fleet.Secret, error) { return askPassword(c, path) }, nil
}

// readPassword reads the first line of a file.
func readPassword(file string, stdin io.Reader) (fleet.Secret, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the operator names the file
		if err != nil {
			return fleet.Secret{}, fmt.Errorf("read password file: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxPassword+1))
	if err != nil {
		return fleet.Secret{}, fmt.Errorf("read password file %s: %w", file, err)
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch {
	case len(data) > maxPassword:
		return fleet.Secret{}, fmt.Errorf("read password file %s: more than %d bytes", file, maxPassword)
	case len(line) == 0:
		return fleet.Secret{}, fmt.Errorf("read password file %s: its first line is empty", file)
	}
	return fleet.NewSecret(line), nil
}

// askPassword asks on the terminal, without showing what is typed.
func askPassword(c *cli.Context, path string) (fleet.Secret, error) {
	in, ok := c.App.Reader.(*os.File)
	if !ok {
		return fleet.Secret{}, importer.ErrNoPassword
	}
	fd := int(in.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return fleet.Secret{}, fmt.Errorf("ask for password: %w", err)
	}
	wipe := ""
	if isTerminal(c.App.ErrWriter) {
		wipe = "\r\x1b[K" // the live line
	}
	if _, err := fmt.Fprintf(c.App.ErrWriter, "%spassword of %q: ", wipe, path); err != nil {
		return fleet.Secret{}, err
	}
	password, err := waitFor(c.Context, func() ([]byte, error) { return term.ReadPassword(fd) })
	if err != nil && c.Err() != nil {
		err = term.Restore(fd, state)
		if err == nil {
			err = c.Err()
		}
	}
	if err != nil {
		return fleet.Secret{}, fmt.Errorf("ask for password: %w", err)
	}
	_, err = io.WriteString(c.App.ErrWriter, "\n")
	return fleet.NewSecret(password), err
}

// waitFor runs a read that cannot be cancelled. When ctx ends first the read is
// left behind: the program is about to end.
func waitFor[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		value, err := read()
		got <- answer{value, err}
	}()
	select {
	case a := <-got:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

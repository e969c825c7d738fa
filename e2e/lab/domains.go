package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// AddDomains runs `tlsfleet domain add` with a list of names.
func (a *Agents) AddDomains(ctx context.Context, names []string) error {
	list, err := os.CreateTemp("", "tlsfleet-names-")
	if err != nil {
		return fmt.Errorf("write names: %w", err)
	}
	_, err = list.WriteString(strings.Join(names, "\n") + "\n")
	if err = errors.Join(err, list.Close()); err == nil {
		_, err = Run(ctx, nil, a.Binary, "domain", "add", "--file", list.Name(), "--config", a.Configs[0])
	}
	return errors.Join(err, os.Remove(list.Name()))
}

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
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

// RenewDomain runs `tlsfleet domain renew` with one name.
func (a *Agents) RenewDomain(ctx context.Context, name string) error {
	_, err := Run(ctx, nil, a.Binary, "domain", "renew", name, "--config", a.Configs[0])
	return err
}

// AwaitChallenges waits until every node answers challenges on a port.
func (f *Fleet) AwaitChallenges(ctx context.Context, port int) error {
	return Until(ctx, time.Minute, 50*time.Millisecond, func() error {
		for _, n := range f.Nodes {
			url := "http://" + net.JoinHostPort(n.Nginx.Address, strconv.Itoa(port)) + "/.well-known/acme-challenge/token"
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			if err := resp.Body.Close(); err != nil {
				return err
			}
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s answers %s", n.Name, resp.Status)
			}
		}
		return nil
	})
}

// Until asks again and again until the answer is nil or the time is over; then
// the error is the last answer, with the cause.
func Until(ctx context.Context, limit, every time.Duration, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

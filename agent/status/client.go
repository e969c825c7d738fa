package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Client talks to the agent on this host.
type Client struct {
	http *http.Client
	path string
}

// NewClient is a client of the agent whose socket is at path.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// HandOver gives the agent what a Consul watch wrote to its handler.
func (c *Client) HandOver(ctx context.Context, watchInput []byte) error {
	return c.do(ctx, http.MethodPost, "/v1/events", watchInput, nil)
}

// Report asks the agent what its node reports now.
func (c *Client) Report(ctx context.Context) (fleet.Report, error) {
	var r fleet.Report
	err := c.do(ctx, http.MethodGet, "/v1/status", nil, &r)
	return r, err
}

func (c *Client) do(ctx context.Context, method, path string, body []byte, out any) (err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the agent at %s: %w", c.path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the agent at %s: %w", c.path, err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		var p problem
		if err := json.Unmarshal(data, &p); err != nil || p.Error == "" {
			p.Error = resp.Status
		}
		return fmt.Errorf("the agent at %s answered: %s", c.path, p.Error)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	return nil
}

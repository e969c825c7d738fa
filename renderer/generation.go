package renderer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of one GET /release.
const (
	answerTime = 2 * time.Second
	answerSize = 64
)

// generation is the set of workers before a reload.
type generation map[identity]bool

func generationOf(ws []process) generation {
	g := generation{}
	for _, w := range ws {
		g[w.identity()] = true
	}
	return g
}

// replaced reports whether a newer generation of workers has taken over: some
// worker is new, and every old one is gone or shutting down.
func (g generation) replaced(ws []process) bool {
	fresh := false
	for _, w := range ws {
		switch {
		case w.title == leavingTitle:
		case g[w.identity()]:
			return false
		default:
			fresh = true
		}
	}
	return fresh
}

// waitGeneration waits until the workers of before have been replaced.
func waitGeneration(ctx context.Context, master process, before generation) error {
	err := poll(ctx, lookEvery, func(context.Context) (bool, error) {
		ws, err := workers(master.pid)
		return err == nil && before.replaced(ws), err
	})
	if err != nil {
		return fmt.Errorf("wait for new nginx workers: %w", err)
	}
	return nil
}

// answer is the release number that nginx serves at the address of a release.
func answer(ctx context.Context, release string) (number uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	network, address := "tcp", release
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://tlsfleet-release/release", nil)
	if err != nil {
		return 0, fmt.Errorf("ask nginx for its release: %w", err)
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask nginx for its release: %w", err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	text, err := io.ReadAll(io.LimitReader(res.Body, answerSize))
	if err != nil {
		return 0, fmt.Errorf("ask nginx for its release: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("ask nginx for its release: status %d from %s", res.StatusCode, release)
	}
	number, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("ask nginx for its release: %s answers %.40q", release, text)
	}
	return number, nil
}

// waitAnswer waits until nginx serves the release.
func (r *Renderer) waitAnswer(ctx context.Context, want manifest) error {
	last := errors.New("not asked yet")
	err := poll(ctx, lookEvery, func(ctx context.Context) (bool, error) {
		got, err := answer(ctx, r.address(want))
		switch {
		case ctx.Err() != nil: // keep what nginx said before
		case err != nil:
			last = err
		default:
			last = fmt.Errorf("nginx serves release %d", got)
		}
		return err == nil && got == want.Release, nil
	})
	if err != nil {
		return fmt.Errorf("wait for release %d: %w: %w", want.Release, err, last)
	}
	return nil
}

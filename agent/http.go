package agent

import (
	"context"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/status"
)

// httpRetry is the pause before an HTTP address that cannot be had is tried
// again.
const httpRetry = 10 * time.Second

// serveHTTP answers on the HTTP address until ctx ends. That it cannot is no
// reason for nginx to go without its keys and certificates.
func (a *Agent) serveHTTP(ctx context.Context) error {
	h := a.cfg.HTTP
	cfg := status.HTTPConfig{Address: h.Address, CertFile: h.CertFile, KeyFile: h.KeyFile, ClientCAFile: h.ClientCAFile, TokenFile: h.TokenFile}
	for ctx.Err() == nil {
		err := status.ServeHTTP(ctx, cfg, status.HTTPHandler(a.view, a.metrics.Handler(), a.pages))
		if err == nil || ctx.Err() != nil {
			return nil
		}
		a.log.Warn("http not served", "address", h.Address, "next", httpRetry, "err", err)
		a.view.problems.replace("http", fleet.Problem{Code: "http-unavailable", Severity: fleet.Warning, Message: err.Error(),
			Hint: "give the block http another address, or \"\" for none"})
		select {
		case <-ctx.Done():
		case <-time.After(httpRetry):
			a.view.problems.replace("http")
		}
	}
	return nil
}

package consul

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"
)

// awaitLimit bounds the wait for the catalog: a token that may not look must
// not keep the session from being tried.
const awaitLimit = 10 * time.Second

// awaitRetry is the pause between two looks when the first found nothing to
// wait on.
const awaitRetry = 200 * time.Millisecond

// serfHealth is the check every Consul agent's node has (Consul,
// structs.SerfCheckID); a session is refused until it passes.
const serfHealth = "serfHealth"

// awaitNode returns once the catalog shows the local agent's node alive, or
// when that cannot be seen.
func awaitNode(ctx context.Context, client *api.Client) {
	ctx, cancel := context.WithTimeout(ctx, awaitLimit)
	defer cancel()
	var index uint64
	for ctx.Err() == nil {
		up, next, err := nodeAlive(ctx, client, index)
		if up || Status(err) == http.StatusForbidden || errors.Is(err, ErrFiltered) {
			return
		}
		index = next
		if err != nil || index == 0 {
			index = 0
			Pause(ctx, awaitRetry)
		}
	}
}

// nodeAlive blocks while the node's checks are still at index.
func nodeAlive(ctx context.Context, client *api.Client, index uint64) (bool, uint64, error) {
	var self struct{ Config struct{ NodeName string } }
	if _, err := client.Raw().Query("/v1/agent/self", &self, new(api.QueryOptions).WithContext(ctx)); err != nil {
		return false, 0, err
	}
	q := api.QueryOptions{WaitIndex: index, WaitTime: awaitLimit}
	checks, meta, err := client.Health().Node(self.Config.NodeName, q.WithContext(ctx))
	if err != nil {
		return false, 0, err
	}
	for _, c := range checks {
		if c.CheckID == serfHealth {
			return c.Status == api.HealthPassing, following(index, meta.LastIndex), nil
		}
	}
	return false, following(index, meta.LastIndex), Vouched(meta)
}

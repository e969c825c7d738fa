package leader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// DefaultTTL of the leader's session.
const DefaultTTL = 15 * time.Second

// consulMinTTL is Consul's default session_ttl_min.
const consulMinTTL = 10 * time.Second

// Config of a candidate.
type Config struct {
	Client *api.Client
	Key    string        // the lock
	Node   string        // written into the lock
	TTL    time.Duration // of the session and the lease; 0: DefaultTTL
	MinTTL time.Duration // least TTL accepted, Consul's session_ttl_min; 0: 10 s
	Log    hclog.Logger  // nil: silent
}

// Run campaigns for the lock until ctx ends, and calls lead each time it is
// won, with the id of the session that holds it. The context given to lead ends
// when the lock is lost, and at the latest one TTL after the start of the last
// successful renewal by the monotonic clock: before Consul, which waits for up
// to two TTLs, gives the lock to another. If lead returns while it still holds
// the lock, Run gives the lock up, pauses, and campaigns again. When ctx ends
// Run waits for lead, releases the lock and returns nil; it returns an error
// only for a Config that cannot work.
func Run(ctx context.Context, cfg Config, lead func(ctx context.Context, session string) error) error {
	c, err := newCandidate(cfg)
	if err != nil {
		return fmt.Errorf("run for leader: %w", err)
	}
	for ctx.Err() == nil {
		start := time.Now()
		err := c.campaign(ctx, lead)
		if ctx.Err() != nil {
			break
		}
		if time.Since(start) > 2*c.cfg.TTL {
			c.retry.Reset()
		}
		if err != nil {
			next := c.retry.NextBackOff()
			c.log.Warn("not leading", "node", cfg.Node, "next", next, "err", err)
			consul.Pause(ctx, next)
		}
	}
	return nil
}

type candidate struct {
	cfg   Config
	log   hclog.Logger
	pace  consul.Pace
	retry *backoff.ExponentialBackOff
}

func newCandidate(cfg Config) (*candidate, error) {
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	if cfg.MinTTL == 0 {
		cfg.MinTTL = consulMinTTL
	}
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	switch {
	case cfg.Client == nil:
		return nil, errors.New("no Consul client")
	case cfg.Key == "":
		return nil, errors.New("no key")
	case cfg.TTL < cfg.MinTTL:
		return nil, fmt.Errorf("ttl %s is below %s", cfg.TTL, cfg.MinTTL)
	}
	if err := fleet.CheckName(cfg.Node); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	pace := consul.DefaultPace()
	pace.Wait = time.Minute
	return &candidate{cfg: cfg, log: cfg.Log, pace: pace, retry: consul.BackOff(time.Second, 30*time.Second)}, nil
}

package testkit

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"
)

// ConsulOption changes how a Consul server is configured.
type ConsulOption func(*consulConfig)

type consulConfig struct {
	dev   bool
	token string
	tls   bool
	join  string // address of a server to join; empty: be one
	merge map[string]any
}

// ConsulDev runs `consul agent -dev`: ready in a fraction of a second, but
// nothing survives Stop.
func ConsulDev() ConsulOption {
	return func(c *consulConfig) { c.dev = true }
}

// ConsulACL turns access control on with policy deny. The server's Token is
// the initial management token.
func ConsulACL() ConsulOption {
	return func(c *consulConfig) {
		c.token = "3f1c9a60-0000-4000-8000-7465737462ed" // public: it opens test servers only
		c.merge["acl"] = map[string]any{
			"enabled":        true,
			"default_policy": "deny",
			"tokens":         map[string]any{"initial_management": c.token, "agent": c.token},
		}
	}
}

// ConsulSessionTTLMin lets sessions have a TTL below Consul's minimum of 10 s.
func ConsulSessionTTLMin(d time.Duration) ConsulOption {
	return ConsulSet("session_ttl_min", d.String())
}

// ConsulCheckUpdate is how long Consul may hold back a check's new output
// while its status stays the same; its default is 5 minutes.
func ConsulCheckUpdate(d time.Duration) ConsulOption {
	return ConsulSet("check_update_interval", d.String())
}

// ConsulSet sets one top-level key of Consul's agent configuration.
func ConsulSet(key string, value any) ConsulOption {
	return func(c *consulConfig) { c.merge[key] = value }
}

// write puts the configuration file for s into its folder and returns the
// command line that uses it.
func (c *consulConfig) write(s *ConsulServer, binary string) ([]string, error) {
	off := -1
	config := map[string]any{
		"node_name":             s.Node,
		"bind_addr":             loopback,
		"client_addr":           loopback,
		"log_level":             "warn",
		"disable_update_check":  true,
		"disable_host_node_id":  true,
		"leave_on_terminate":    false,
		"performance":           map[string]any{"raft_multiplier": 1},
		"connect":               map[string]any{"enabled": false},
		"peering":               map[string]any{"enabled": false},
		"limits":                map[string]any{"http_max_conns_per_client": 4000},
		"check_update_interval": "0s",
		"ports": map[string]any{
			"http": s.http, "server": s.rpc, "serf_lan": s.serf,
			"dns": off, "grpc": off, "grpc_tls": off, "https": off, "serf_wan": off,
		},
	}
	if c.tls {
		config["tls"] = s.tlsConfig()
		config["ports"] = map[string]any{
			"https": s.http, "server": s.rpc, "serf_lan": s.serf,
			"dns": off, "grpc": off, "grpc_tls": off, "http": off, "serf_wan": off,
		}
	}
	argv := []string{binary, "agent", "-config-file", filepath.Join(s.dir, "consul.json")}
	switch {
	case c.join != "":
		config["retry_join"] = []string{c.join}
		config["retry_interval"] = "1s"
		config["data_dir"] = filepath.Join(s.dir, "data")
	case c.dev:
		argv = append(argv, "-dev")
	default:
		config["server"] = true
		config["bootstrap_expect"] = 1
		config["data_dir"] = filepath.Join(s.dir, "data")
	}
	maps.Copy(config, c.merge)
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write Consul configuration: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "consul.json"), text, 0o600); err != nil {
		return nil, fmt.Errorf("write Consul configuration: %w", err)
	}
	return argv, nil
}

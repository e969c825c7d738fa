package lab

import (
	"context"
	"encoding/json"
	"fmt"
)

// Status is what `tlsfleet status --format json` says, as far as the lab
// shows it.
type Status struct {
	Leader  string       `json:"leader"`
	Epoch   uint64       `json:"epoch"`
	Cause   string       `json:"cause"`
	Proved  int          `json:"proved"`
	Serving int          `json:"in_service"`
	Nodes   []NodeStatus `json:"nodes"`
}

// NodeStatus is one node of Status.
type NodeStatus struct {
	Node   string `json:"node"`
	Leader bool   `json:"leader"`
	Report struct {
		Applied   uint64 `json:"applied"`
		Proved    uint64 `json:"proved"`
		Release   uint64 `json:"release"`
		Inventory uint64 `json:"inventory"`
		Names     int    `json:"names"`
		Listeners []struct {
			TLS []struct {
				Key string `json:"key"`
			} `json:"tls"`
		} `json:"listeners"`
	} `json:"report"`
}

// Key is the name of the key that the node's nginx was last seen to seal with,
// in hexadecimal digits; empty if none was seen.
func (n NodeStatus) Key() string {
	for _, l := range n.Report.Listeners {
		for _, t := range l.TLS {
			if t.Key != "" {
				return t.Key
			}
		}
	}
	return ""
}

// Followed is how many nodes have so many names.
func (s Status) Followed(names int) int {
	count := 0
	for _, n := range s.Nodes {
		if n.Report.Names == names {
			count++
		}
	}
	return count
}

// Status asks tlsfleet for the state of the fleet.
func (a *Agents) Status(ctx context.Context) (Status, error) {
	var s Status
	out, err := Run(ctx, nil, a.Binary, "status", "--config", a.Configs[0], "--format", "json")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return s, fmt.Errorf("read status of tlsfleet: %w", err)
	}
	return s, nil
}

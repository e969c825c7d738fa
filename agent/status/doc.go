// Package status is the agent's local surface: an HTTP API on a unix socket,
// by which the CLI and Consul watch handlers on the same host reach the
// agent. It must not know Consul or nginx.
package status

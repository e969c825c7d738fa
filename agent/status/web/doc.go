// Package web is the dashboard on the agent's HTTP address: one page, its style
// and its script, embedded; the JSON that they read; and a stream of what changes
// in the fleet. It only reads, and bounds what any number of viewers cost. It must
// not know Consul or nginx, nor who may ask: package status lets in.
package web

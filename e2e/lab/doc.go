// Package lab is a small fleet on loopback for the demo and the benchmarks:
// nginx nodes with the same certificate behind an L4 balancer, and clients
// that resume TLS sessions through it, each time on another node. It knows how
// nginx, Consul and the tlsfleet binary are started, and nothing of how
// tlsfleet works inside.
package lab

// Package e2e is the root of the module whose tests, demo and benchmarks run
// the whole of tlsfleet on real Consul and nginx on loopback. It is a module
// of its own so that nothing it needs becomes a dependency of the product.
package e2e

// Package inventory decides how the inventory changes: which domain name is
// served by which bundle, in shards of a fixed number, under one head that
// holds the epoch of each shard. Everything in it is a pure function of the
// records and the change; it also makes stored names out of typed ones and is
// the one place that turns shards and heads into bytes and back.
//
// It must not know Consul, nginx, certificates or the clock.
package inventory

// Package store is the fleet's state in Consul: the keys and their records,
// reads that refuse what is not whole, writes that a deposed leader cannot
// make, watches, the node's registration and Consul's events. It decides
// nothing: when to rotate and what to apply is for its callers.
package store

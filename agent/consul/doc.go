// Package consul holds the two mechanisms of Consul that packages store and
// leader both need: a session that is kept alive or known to be lost, and the
// blocking query loop. It knows nothing of fleets, keys or records.
package consul

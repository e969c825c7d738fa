// Package leader elects one agent of a fleet: it holds a lock in Consul for as
// long as a lease lasts, and tells the winner when to stop. It knows nothing of
// what a leader does; writes are fenced by package store.
package leader

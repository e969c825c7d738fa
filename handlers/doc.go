// Package handlers decides: a snapshot or an event in, a plan out. Its
// functions are pure: no I/O, no clock, no randomness of their own. It must
// not know Consul, nginx or the file system.
package handlers

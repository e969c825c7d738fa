// Package ticket decides how the ring of session ticket keys changes: create,
// rotate, adopt, replace. Everything in it is a pure function of the ring, the
// change and the time; it also checks keys from outside and is the one place
// that turns a ring into bytes and back.
//
// It must not know Consul, nginx or the clock.
package ticket

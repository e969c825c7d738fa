// Package issuance is the life of a certificate that the leader obtains and
// renews, as pure functions of what is known and the time: its states, what a
// failure means, when to renew, and whose turn it is under the limits of the
// CA. It knows nothing of ACME clients, Consul or clocks.
package issuance

// Package fleet holds the words of the domain as types: ticket keys and their
// ring, what a node reports, what a TLS listener is. Every other package may
// import it; it imports only the standard library and does no I/O.
package fleet

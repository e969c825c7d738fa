// Package probe shakes hands with nginx and reads from the session ticket which
// key sealed it: the first 16 bytes of a ticket are the key's name (RFC 5077,
// section 4). That is the proof that nginx uses a key; an exit status or a file
// on disk is none. It knows nothing of rings, releases or Consul.
package probe

// Package seal keeps the fleet's records secret and bound to their place: a
// keyring file shared by all nodes, and an envelope that opens only under the
// fleet, the KV path and the epoch it was sealed for.
//
// It must not know what it seals, nor where the envelope is stored.
package seal

// Package site says what a virtual host is that tlsfleet renders: its type, the
// HCL and JSON in which an operator writes it, the record in which it is stored,
// the head that lists all sites, and what makes a site, or two sites together,
// unusable. All of it is pure functions.
//
// It must not know Consul, disks, or how nginx spells any of it.
package site

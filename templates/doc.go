// Package templates renders the nginx configuration of one release from
// embedded text/template files. It quotes every value it is given and knows
// nothing of disks, processes or the meaning of a ring.
package templates

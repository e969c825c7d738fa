// Package dns01 answers DNS-01 challenges (RFC 8555, section 8.4) through the DNS
// providers of lego. It sets a record, waits until the zone's name servers show
// it, and takes it away again. It knows neither CAs nor orders.
package dns01

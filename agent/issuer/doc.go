// Package issuer obtains and renews certificates from CAs that speak ACME (RFC
// 8555). It carries out what package issuance decides, journals each step before
// it takes it, and stops asking the moment that its context ends. It does not
// know where the journal is kept.
package issuer

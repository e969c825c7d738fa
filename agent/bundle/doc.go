// Package bundle is one certificate with its chain and its private key: read
// from what operators and CAs hand out, checked, hashed, turned into records
// and into the files nginx reads. Everything in it is a pure function of its
// arguments.
//
// It must not know Consul, nginx's configuration or the clock.
package bundle

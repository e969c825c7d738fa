// Package doctor judges what was found out about a host and its fleet: each
// check gives one finding, with what to do. It looks at nothing itself, so that
// every judgement can be tested without a broken host.
package doctor

//go:build !dns_cloud

package dns01

const cloudHint = "built with -tags dns_cloud"

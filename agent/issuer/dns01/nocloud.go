//go:build !dns_cloud

package dns01

// cloudMakers are none: the SDKs of three clouds are larger than all the rest.
func cloudMakers() map[string]maker { return nil }

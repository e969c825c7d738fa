//go:build dns_cloud

package dns01

import (
	"strings"
	"testing"
)

const cloudHint = "is not known" // of a setting

// TestCheckOfCloudProviders makes each provider and tells what it cannot use.
func TestCheckOfCloudProviders(t *testing.T) {
	const hush = "hush-hush"
	tests := map[string]struct {
		provider string
		settings map[string]string
		want     string // in the error; empty: none
	}{
		"route53":             {"route53", map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": hush, "AWS_REGION": "eu-west-1"}, ""},
		"route53, half a key": {"route53", map[string]string{"AWS_SECRET_ACCESS_KEY": hush}, "supplied together"},
		"route53, unknown":    {"route53", map[string]string{"AWS_TOKEN": hush}, "AWS_TOKEN is not known"},
		"gcloud, nothing":     {"gcloud", nil, "GCE_SERVICE_ACCOUNT_FILE"},
		"gcloud, no account":  {"gcloud", map[string]string{"GCE_SERVICE_ACCOUNT": hush}, "project ID not found in it"},
		"azuredns, no cloud":  {"azuredns", map[string]string{"AZURE_ENVIRONMENT": "moon"}, "AZURE_ENVIRONMENT: none of public"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := Zone{Provider: tt.provider, Settings: secrets(tt.settings)}.Check()
			if tt.want == "" {
				if err != nil {
					t.Errorf("Check() = %v, want nil", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), hush) {
				t.Errorf("Check() = %v, want one with %q and without the secret", err, tt.want)
			}
		})
	}
}

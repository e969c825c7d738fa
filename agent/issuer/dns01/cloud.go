//go:build dns_cloud

package dns01

import (
	"errors"
	"time"

	azure "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/providers/dns/azuredns"
	"github.com/go-acme/lego/v4/providers/dns/gcloud"
	"github.com/go-acme/lego/v4/providers/dns/route53"
)

// cloudMakers are the providers whose SDKs are large. What is not given to them,
// the SDKs look for where they run: roles of machines, profiles, metadata.
func cloudMakers() map[string]maker {
	return map[string]maker{"route53": newRoute53, "gcloud": newGcloud, "azuredns": newAzure}
}

func newRoute53(s *settings, _ *fence) (challenge.Provider, error) {
	c := route53.NewDefaultConfig()
	c.AccessKeyID, c.SecretAccessKey = s.text("AWS_ACCESS_KEY_ID"), s.secret("AWS_SECRET_ACCESS_KEY")
	c.SessionToken = s.secret("AWS_SESSION_TOKEN")
	c.Region, c.HostedZoneID = s.text("AWS_REGION"), s.text("AWS_HOSTED_ZONE_ID")
	c.AssumeRoleArn, c.ExternalID = s.text("AWS_ASSUME_ROLE_ARN"), s.secret("AWS_EXTERNAL_ID")
	c.MaxRetries = s.number("AWS_MAX_RETRIES", 5)
	c.PrivateZone = s.flag("AWS_PRIVATE_ZONE", false)
	c.WaitForRecordSetsChanged = s.flag("AWS_WAIT_FOR_RECORD_SETS_CHANGED", true)
	c.TTL = s.number("AWS_TTL", 10)
	unusedTimes(s, "AWS_")
	return route53.NewDNSProviderConfig(c)
}

var errGcloud = errors.New("give one of GCE_SERVICE_ACCOUNT_FILE and GCE_PROJECT; more is in the account's file or found by the machine")

// newGcloud makes a provider by an account's key or by what the machine has.
// lego takes no other settings with either of them but from the environment.
func newGcloud(s *settings, _ *fence) (challenge.Provider, error) {
	account, project := s.secret("GCE_SERVICE_ACCOUNT"), s.text("GCE_PROJECT")
	unusedTimes(s, "GCE_")
	if (account == "") == (project == "") {
		return nil, errGcloud
	}
	if account != "" {
		return gcloud.NewDNSProviderServiceAccountKey([]byte(account))
	}
	return gcloud.NewDNSProviderCredentials(project)
}

var errAzure = errors.New("none of public, china, usgovernment")

func newAzure(s *settings, f *fence) (challenge.Provider, error) {
	c := azuredns.NewDefaultConfig()
	switch s.text("AZURE_ENVIRONMENT") {
	case "", "public":
		c.Environment = azure.AzurePublic
	case "china":
		c.Environment = azure.AzureChina
	case "usgovernment":
		c.Environment = azure.AzureGovernment
	default:
		s.wrong("AZURE_ENVIRONMENT", errAzure)
	}
	c.SubscriptionID, c.ResourceGroup = s.text("AZURE_SUBSCRIPTION_ID"), s.text("AZURE_RESOURCE_GROUP")
	c.ZoneName, c.PrivateZone = s.text("AZURE_ZONE_NAME"), s.flag("AZURE_PRIVATE_ZONE", false)
	c.TenantID, c.ClientID = s.text("AZURE_TENANT_ID"), s.text("AZURE_CLIENT_ID")
	c.ClientSecret = s.secret("AZURE_CLIENT_SECRET")
	c.OIDCToken, c.OIDCTokenFilePath = s.secret("AZURE_OIDC_TOKEN"), s.text("AZURE_OIDC_TOKEN_FILE_PATH")
	c.AuthMethod = s.text("AZURE_AUTH_METHOD")
	c.AuthMSITimeout = s.seconds("AZURE_AUTH_MSI_TIMEOUT", 2*time.Second)
	c.ServiceDiscoveryFilter = s.text("AZURE_SERVICEDISCOVERY_FILTER")
	c.TTL = s.number("AZURE_TTL", 60)
	c.HTTPClient = f.client(httpTimeout)
	unusedTimes(s, "AZURE_")
	return azuredns.NewDNSProviderConfig(c)
}

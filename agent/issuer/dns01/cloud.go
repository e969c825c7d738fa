//go:build dns_cloud

package dns01

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	azure "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	awsroute53 "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/providers/dns/azuredns"
	"github.com/go-acme/lego/v4/providers/dns/gcloud"
	"github.com/go-acme/lego/v4/providers/dns/route53"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	gdns "google.golang.org/api/dns/v1"
)

// cloudMakers are the providers whose SDKs are large. What is not given to them,
// the SDKs look for where they run: roles of machines, profiles, metadata.
func cloudMakers() map[string]maker {
	return map[string]maker{"route53": newRoute53, "gcloud": newGcloud, "azuredns": newAzure}
}

func newRoute53(s *settings, f *fence) (challenge.Provider, error) {
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
	var err error
	if c.Client, err = awsClient(c, f); err != nil {
		return nil, err
	}
	return route53.NewDNSProviderConfig(c)
}

var errAWSKey = errors.New("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be supplied together, and AWS_SESSION_TOKEN only with them")

// awsClient is what lego makes of its configuration, but with requests that end
// with the lease.
func awsClient(c *route53.Config, f *fence) (*awsroute53.Client, error) {
	if (c.AccessKeyID == "") != (c.SecretAccessKey == "") || c.SessionToken != "" && c.AccessKeyID == "" {
		return nil, errAWSKey
	}
	options := []func(*awsconfig.LoadOptions) error{
		// The SDK wants a client of its own kind, to which it adds AWS_CA_BUNDLE.
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(httpTimeout)),
		awsconfig.WithAPIOptions([]func(*middleware.Stack) error{f.awsStack}), awsconfig.WithRetryMaxAttempts(c.MaxRetries),
	}
	if c.AccessKeyID != "" {
		options = append(options, awsconfig.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)))
	}
	if c.Region != "" {
		options = append(options, awsconfig.WithRegion(c.Region))
	}
	cfg, err := awsconfig.LoadDefaultConfig(context.Background(), options...)
	if err != nil {
		return nil, fmt.Errorf("read AWS configuration: %w", err)
	}
	if c.AssumeRoleArn != "" {
		cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), c.AssumeRoleArn, func(o *stscreds.AssumeRoleOptions) {
			if c.ExternalID != "" {
				o.ExternalID = &c.ExternalID
			}
		}))
	}
	return awsroute53.NewFromConfig(cfg), nil
}

// awsStack has each call of the SDK, with its retries, end with the lease.
func (f *fence) awsStack(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("lease", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
		out middleware.InitializeOutput, metadata middleware.Metadata, err error,
	) {
		ctx, end, err := f.within(ctx)
		if err != nil {
			return out, metadata, err
		}
		defer end()
		return next.HandleInitialize(ctx, in)
	}), middleware.Before)
}

var (
	errGcloud  = errors.New("give one of GCE_SERVICE_ACCOUNT_FILE and GCE_PROJECT; more is in the account's file or found by the machine")
	errProject = errors.New("GCE_SERVICE_ACCOUNT: project ID not found in it")
)

// newGcloud makes a provider by an account's key or by what the machine has, as
// lego does, but with requests that end with the lease.
func newGcloud(s *settings, f *fence) (challenge.Provider, error) {
	account := s.secret("GCE_SERVICE_ACCOUNT")
	c := &gcloud.Config{
		Project: s.text("GCE_PROJECT"), ZoneID: s.text("GCE_ZONE_ID"), AllowPrivateZone: s.flag("GCE_ALLOW_PRIVATE_ZONE", false), TTL: s.number("GCE_TTL", 120),
	}
	unusedTimes(s, "GCE_")
	if (account == "") == (c.Project == "") {
		return nil, errGcloud
	}
	var err error
	fenced := context.WithValue(context.Background(), oauth2.HTTPClient, f.client(httpTimeout)) // for tokens too
	if account == "" {
		c.HTTPClient, err = google.DefaultClient(fenced, gdns.NdevClouddnsReadwriteScope)
	} else {
		c.HTTPClient, c.Project, err = googleClient(fenced, []byte(account))
	}
	if err != nil {
		return nil, err
	}
	c.HTTPClient.Timeout = httpTimeout
	return gcloud.NewDNSProviderConfig(c)
}

// googleClient is one by an account's key, with the account's project.
func googleClient(ctx context.Context, account []byte) (client *http.Client, project string, err error) {
	var key struct {
		Project string `json:"project_id"`
	}
	if err := json.Unmarshal(account, &key); err != nil || key.Project == "" {
		return nil, "", errProject
	}
	c, err := google.JWTConfigFromJSON(account, gdns.NdevClouddnsReadwriteScope)
	if err != nil {
		return nil, "", fmt.Errorf("read GCE_SERVICE_ACCOUNT: %w", err)
	}
	return c.Client(ctx), key.Project, nil
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

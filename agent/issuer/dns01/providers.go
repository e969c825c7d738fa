package dns01

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/providers/dns/acmedns"
	"github.com/go-acme/lego/v4/providers/dns/cloudflare"
	"github.com/go-acme/lego/v4/providers/dns/httpreq"
	"github.com/go-acme/lego/v4/providers/dns/rfc2136"
)

// provider sets records for one challenge, and takes them away.
type provider interface {
	set(ctx context.Context, r record) error
	unset(ctx context.Context, r record) error
	// wait waits for the end of a call that went on after its context.
	wait()
}

// maker makes one of lego's providers.
type maker func(s *settings, f *fence) (challenge.Provider, error)

// makers are lego's providers by lego's names. exec has one of its own.
func makers() map[string]maker {
	all := map[string]maker{
		"rfc2136": newRFC2136, "httpreq": newHTTPReq, "acme-dns": newACMEDNS, "cloudflare": newCloudflare,
	}
	maps.Copy(all, cloudMakers())
	return all
}

// Providers are the names of the providers that there are.
func Providers() []string {
	return slices.Sorted(maps.Keys(makers()))
}

// ErrProvider means that there is no such provider.
var ErrProvider = errors.New("no such provider")

// open makes a zone's provider. Errors have no secret in them.
func open(z Zone, servers []string) (provider, *settings, error) {
	s, err := read(z)
	if err != nil {
		return nil, nil, err
	}
	p, err := build(z.Provider, s, servers)
	// What nobody has asked for explains more than what is missing.
	if err := errors.Join(s.check(), err); err != nil {
		return nil, nil, s.clean(err)
	}
	return p, s, nil
}

func build(name string, s *settings, servers []string) (provider, error) {
	if name == "exec" {
		return newProgram(s)
	}
	made, ok := makers()[name]
	if !ok {
		hint := ""
		if slices.Contains(cloudNames, name) {
			hint = "; it is in binaries that are built with -tags dns_cloud"
		}
		return nil, fmt.Errorf("%w: %q: known are exec, %s%s", ErrProvider, name, strings.Join(Providers(), ", "), hint)
	}
	f := newFence()
	p, err := made(s, f)
	if err != nil {
		return nil, err
	}
	return newLegoProvider(p, f, servers), nil
}

// cloudNames are the providers that need the tag dns_cloud.
var cloudNames = []string{"route53", "gcloud", "azuredns"}

// unusedTimes asks for the settings of lego that say how it waits, which it does
// not do here.
func unusedTimes(s *settings, prefix string) {
	for _, name := range []string{"PROPAGATION_TIMEOUT", "POLLING_INTERVAL", "SEQUENCE_INTERVAL"} {
		s.number(prefix+name, 0)
	}
}

var errBase64 = errors.New("not base64")

func newRFC2136(s *settings, _ *fence) (challenge.Provider, error) {
	s.alias = [2]string{"DNSUPDATE_", "RFC2136_"}
	c := rfc2136.NewDefaultConfig()
	c.TSIGFile = s.text("DNSUPDATE_TSIG_FILE")
	c.Nameserver = s.need("DNSUPDATE_NAMESERVER")
	c.DNSTimeout = s.seconds("DNSUPDATE_DNS_TIMEOUT", 10*time.Second)
	c.Zones = s.list("DNSUPDATE_ZONES")
	if algorithm := s.text("DNSUPDATE_TSIG_ALGORITHM"); algorithm != "" {
		c.TSIGAlgorithm = algorithm
	}
	c.TSIGKey, c.TSIGSecret = s.text("DNSUPDATE_TSIG_KEY"), s.secret("DNSUPDATE_TSIG_SECRET")
	if (c.TSIGKey == "") != (c.TSIGSecret == "") {
		s.wrong("DNSUPDATE_TSIG_SECRET", errors.New("it and DNSUPDATE_TSIG_KEY need each other"))
	}
	if _, err := base64.StdEncoding.DecodeString(c.TSIGSecret); err != nil {
		s.wrong("DNSUPDATE_TSIG_SECRET", errBase64)
	}
	c.TSIGGSSRealm, c.TSIGGSSUsername = s.text("DNSUPDATE_TSIG_GSS_REALM"), s.text("DNSUPDATE_TSIG_GSS_USERNAME")
	c.TSIGGSSKeytabFile = s.text("DNSUPDATE_TSIG_GSS_KEYTAB_FILE")
	c.TSIGGSSPassword = s.secret("DNSUPDATE_TSIG_GSS_PASSWORD")
	c.TTL = s.number("DNSUPDATE_TTL", 120)
	unusedTimes(s, "DNSUPDATE_")
	return rfc2136.NewDNSProviderConfig(c)
}

func newHTTPReq(s *settings, f *fence) (challenge.Provider, error) {
	c := httpreq.NewDefaultConfig()
	c.Endpoint = s.url("HTTPREQ_ENDPOINT")
	c.Mode = s.text("HTTPREQ_MODE")
	c.Username, c.Password = s.text("HTTPREQ_USERNAME"), s.secret("HTTPREQ_PASSWORD")
	c.HTTPClient = f.client(s.seconds("HTTPREQ_HTTP_TIMEOUT", httpTimeout))
	unusedTimes(s, "HTTPREQ_")
	return httpreq.NewDNSProviderConfig(c)
}

func newACMEDNS(s *settings, _ *fence) (challenge.Provider, error) {
	c := acmedns.NewDefaultConfig()
	if u := s.url("ACME_DNS_API_BASE"); u != nil {
		c.APIBase = u.String()
	}
	c.StoragePath, c.StorageBaseURL = s.text("ACME_DNS_STORAGE_PATH"), s.text("ACME_DNS_STORAGE_BASE_URL")
	c.AllowList = s.list("ACME_DNS_ALLOWLIST")
	return acmedns.NewDNSProviderConfig(c)
}

func newCloudflare(s *settings, f *fence) (challenge.Provider, error) {
	s.alias = [2]string{"CLOUDFLARE_", "CF_"}
	c := cloudflare.NewDefaultConfig()
	c.AuthEmail = s.text("CLOUDFLARE_EMAIL")
	if c.AuthEmail == "" {
		c.AuthEmail = s.text("CF_API_EMAIL")
	}
	c.AuthKey = s.secret("CLOUDFLARE_API_KEY")
	c.AuthToken, c.ZoneToken = s.secret("CLOUDFLARE_DNS_API_TOKEN"), s.secret("CLOUDFLARE_ZONE_API_TOKEN")
	c.BaseURL = s.text("CLOUDFLARE_BASE_URL")
	c.TTL = s.number("CLOUDFLARE_TTL", 120)
	c.HTTPClient = f.client(s.seconds("CLOUDFLARE_HTTP_TIMEOUT", httpTimeout))
	unusedTimes(s, "CLOUDFLARE_")
	f.base = again{f.base}
	p, err := cloudflare.NewDNSProviderConfig(c)
	if err != nil {
		return nil, err
	}
	return &cloudflareProvider{DNSProvider: p}, nil
}

package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/consul"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/seal"
)

// requestTimeout bounds every request that does not block on purpose.
const requestTimeout = 10 * time.Second

// Config says how to reach Consul and which fleet is meant. A zero field, but
// for Fleet, falls back to the CONSUL_* variable and then the default of
// Consul's own tools (api.DefaultConfig).
type Config struct {
	Address, Scheme      string
	Token, TokenFile     string
	Datacenter           string
	Namespace, Partition string
	CAFile, CAPath       string
	CertFile, KeyFile    string
	ServerName           string
	TLSSkipVerify        bool
	Fleet                string
	Leaders              *seal.Keyring // for what only leaders need; nil: the keyring of all
	Log                  hclog.Logger  // nil: silent
}

// Store is one fleet's state in Consul. Its methods may be called
// concurrently.
type Store struct {
	client  *api.Client
	link    Link
	keyring *seal.Keyring
	leaders *seal.Keyring // nil: there is none
	fleet   string
	log     hclog.Logger
	pace    consul.Pace
	chains  chainCache

	listAgain atomic.Int64 // when bundles may be listed again, in Unix nanoseconds
}

// Open makes a Store; it does not talk to Consul yet.
func Open(cfg Config, kr *seal.Keyring) (*Store, error) {
	if err := fleet.CheckName(cfg.Fleet); err != nil {
		return nil, fmt.Errorf("open store: fleet: %w", err)
	}
	if kr == nil {
		return nil, errors.New("open store: no keyring")
	}
	conf := clientConfig(cfg)
	var err error
	if conf.HttpClient, err = api.NewHttpClient(conf.Transport, conf.TLSConfig); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	link := linkOf(conf)
	client, err := api.NewClient(conf)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	// Now, because for a unix socket the client has made another one.
	conf.HttpClient.Transport = dateTransport{postTransport{rawTransport{manyTransport{conf.HttpClient.Transport}}}}
	log := cfg.Log
	if log == nil {
		log = hclog.NewNullLogger()
	}
	return &Store{client: client, link: link, keyring: kr, leaders: cfg.Leaders, fleet: cfg.Fleet, log: log, pace: consul.DefaultPace()}, nil
}

// Client is the Consul client the store uses, for the leader election.
func (s *Store) Client() *api.Client { return s.client }

func clientConfig(cfg Config) *api.Config {
	c := api.DefaultConfig()
	if cfg.Token != "" || cfg.TokenFile != "" {
		c.Token, c.TokenFile = cfg.Token, cfg.TokenFile
	}
	set(&c.Address, cfg.Address)
	set(&c.Scheme, cfg.Scheme)
	set(&c.Datacenter, cfg.Datacenter)
	set(&c.Namespace, cfg.Namespace)
	set(&c.Partition, cfg.Partition)
	set(&c.TLSConfig.CAFile, cfg.CAFile)
	set(&c.TLSConfig.CAPath, cfg.CAPath)
	set(&c.TLSConfig.CertFile, cfg.CertFile)
	set(&c.TLSConfig.KeyFile, cfg.KeyFile)
	set(&c.TLSConfig.Address, cfg.ServerName)
	if cfg.TLSSkipVerify {
		c.TLSConfig.InsecureSkipVerify = true
	}
	c.Transport = transport()
	return c
}

func set(to *string, value string) {
	if value != "" {
		*to = value
	}
}

// transport keeps few connections, because Consul allows 200 per client
// address (limits.http_max_conns_per_client), and notices dead ones. Blocking
// queries forbid a time limit on the answer here; contexts set it.
func transport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // sealed records do not compress, and whoever has a far Consul asks the agent beside him
		MaxConnsPerHost:       32,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		Proxy:                 http.ProxyFromEnvironment,
	}
}

// readSoon is the options of a bounded read that may miss the last writes, which
// proves neither that something is missing nor that it is the newest: it spares
// Consul's leader to ask the other servers whether it still leads.
func readSoon(ctx context.Context) (*api.QueryOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	var q api.QueryOptions
	return q.WithContext(ctx), cancel
}

// read is the options of a bounded read that sees every write that was
// answered before it.
func read(ctx context.Context) (*api.QueryOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	q := api.QueryOptions{RequireConsistent: true}
	return q.WithContext(ctx), cancel
}

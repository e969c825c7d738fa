package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/go-acme/lego/v4/certcrypto"
	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/challenge/http01"
	"github.com/go-acme/lego/v4/lego"
	legolog "github.com/go-acme/lego/v4/log"
	"github.com/go-acme/lego/v4/registration"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// each obtains every name, so many at a time.
func (s *scene) each(ctx context.Context, obtain func(ctx context.Context, name string) error) error {
	end, err := s.begin(os.Getpid())
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.parallel)
	for _, name := range s.names {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			began := time.Now()
			if err := obtain(ctx, name); err != nil {
				return fmt.Errorf("obtain %s: %w", name, err)
			}
			s.record(time.Since(began))
			return nil
		})
	}
	return errors.Join(g.Wait(), end())
}

// account is a user of lego's.
type account struct {
	key          *ecdsa.PrivateKey
	registration *registration.Resource
}

func (a *account) GetEmail() string                        { return "" }
func (a *account) GetRegistration() *registration.Resource { return a.registration }
func (a *account) GetPrivateKey() crypto.PrivateKey        { return a.key }

// legoObtains uses one client of lego's from all goroutines. lego's own server
// for HTTP-01 takes the port for one challenge at a time, so a program that works
// on several has a server of its own.
func legoObtains(ctx context.Context, s *scene) error {
	hushLego()
	key, err := lab.NewKey()
	if err != nil {
		return err
	}
	user := &account{key: key}
	config := lego.NewConfig(user)
	config.CADirURL, config.HTTPClient, config.Certificate.KeyType = s.ca.Directory, s.ca.Client(), certcrypto.EC256
	client, err := lego.NewClient(config)
	if err != nil {
		return err
	}
	if user.registration, err = client.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true}); err != nil {
		return err
	}
	provider, err := s.answer(ctx)
	if err != nil {
		return err
	}
	if err := client.Challenge.SetHTTP01Provider(provider); err != nil {
		return err
	}
	return s.each(ctx, func(_ context.Context, name string) error {
		_, err := client.Certificate.Obtain(certificate.ObtainRequest{Domains: []string{name}, Bundle: true})
		return err
	})
}

// answers is a provider of lego's with a server that runs all the time.
type answers struct{ of sync.Map } // path -> key authorization

var _ challenge.Provider = (*answers)(nil)

// Present implements challenge.Provider.
func (a *answers) Present(_, token, keyAuth string) error {
	a.of.Store(http01.ChallengePath(token), keyAuth)
	return nil
}

// CleanUp implements challenge.Provider.
func (a *answers) CleanUp(_, token, _ string) error {
	a.of.Delete(http01.ChallengePath(token))
	return nil
}

// ServeHTTP implements http.Handler.
func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, ok := a.of.Load(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if _, err := fmt.Fprint(w, text); err != nil {
		panic(http.ErrAbortHandler) // the CA has gone
	}
}

func (s *scene) answer(ctx context.Context) (*answers, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.ca.HTTPPort)))
	if err != nil {
		return nil, err
	}
	a := &answers{}
	web := &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- web.Serve(l) }()
	s.p.Cleanup(func() {
		if err := errors.Join(web.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
			s.p.Logf("stop server for challenges: %v", err)
		}
	})
	return a, nil
}

// hushLego is done once: lego's logger is one for all its clients.
var hushLego = sync.OnceFunc(func() { legolog.Logger = quiet{} })

// quiet is a logger of lego's that says nothing.
type quiet struct{}

func (quiet) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (quiet) Fatalln(args ...any)               { panic(fmt.Sprintln(args...)) }
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (quiet) Print(...any)                      {}
func (quiet) Println(...any)                    {}
func (quiet) Printf(string, ...any)             {}

// certmagicObtains uses certmagic as a server does that gets a certificate
// before it goes on, but without its limit of 10 in 10 seconds.
func certmagicObtains(ctx context.Context, s *scene) error {
	certmagic.RateLimitEvents, certmagic.RateLimitEventsWindow = 0, 0
	var config *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return config, nil }, Logger: zap.NewNop(),
	})
	defer cache.Stop()
	config = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: s.p.TempDir()}, Logger: zap.NewNop(),
		KeySource: certmagic.StandardKeyGenerator{KeyType: certmagic.P256}, OCSP: certmagic.OCSPConfig{DisableStapling: true},
	})
	config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(config, certmagic.ACMEIssuer{
		CA: s.ca.Directory, TestCA: s.ca.Directory, Email: "ops@bench.test", Agreed: true, TrustedRoots: s.ca.Roots, Logger: zap.NewNop(),
		DisableTLSALPNChallenge: true, ListenHost: "127.0.0.1", AltHTTPPort: s.ca.HTTPPort,
	})}
	return s.each(ctx, config.ObtainCertSync)
}

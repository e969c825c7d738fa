package agent

import (
	"context"
	"crypto/sha256"
	"os"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// setup is a configuration with what was read of the files that it names, so
// that an agent can be started with it again whatever has become of them.
type setup struct {
	cfg     config.Config
	log     hclog.Logger
	store   *store.Store // with keyring and token
	secrets secrets
}

// secrets tells keyring and token file from other ones by their content.
type secrets [sha256.Size]byte

// prepare reads the keyring and the token file.
func prepare(cfg config.Config, o Options) (setup, error) {
	s := setup{cfg: cfg, log: o.Log, secrets: secretsOf(cfg)} // first: a later change shows
	var err error
	s.store, err = openAgentStore(cfg, o.Log)
	return s, err
}

// agent makes an agent with it.
func (s setup) agent(o Options) (*Agent, error) {
	o.Log = s.log
	return newAgent(s.cfg, o, s.store)
}

// secretsOf reads the files. One that cannot be read counts as empty.
func secretsOf(cfg config.Config) secrets {
	sum := sha256.New()
	for _, file := range secretFiles(cfg) {
		text, err := os.ReadFile(file) //nolint:gosec // the operator names the files
		if err != nil {
			text = nil
		}
		one := sha256.Sum256(text)
		clear(text)
		sum.Write(one[:])
	}
	return secrets(sum.Sum(nil))
}

func secretFiles(cfg config.Config) []string {
	files := []string{cfg.KeyringFile, cfg.Consul.TokenFile, cfg.HTTP.TokenFile, cfg.HTTP.CertFile, cfg.HTTP.KeyFile}
	if cfg.Leader.Eligible {
		files = append(files, cfg.Leader.KeyringFile)
		for _, d := range cfg.DNS {
			files = append(files, d.Files()...)
		}
		for _, a := range cfg.Archives {
			files = append(files, a.AccessKeyFile, a.SecretKeyFile, a.CAFile, a.DSNFile)
		}
	}
	return slices.DeleteFunc(files, func(file string) bool { return file == "" })
}

// watch gives changed when the configuration at path or a file with secrets
// may be another one than was read, until ctx ends; wait waits for that end.
func (s setup) watch(ctx context.Context, path string) (changed wake, wait func()) {
	changed = newWake()
	var watches sync.WaitGroup
	for _, file := range append([]string{path}, secretFiles(s.cfg)...) {
		watches.Go(func() {
			if err := config.Watch(ctx, file, changed.give); err != nil {
				s.log.Error("file not watched any more, SIGHUP still reads it", "file", file, "err", err)
			}
		})
	}
	return changed, watches.Wait
}

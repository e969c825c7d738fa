package renderer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Errors that callers tell apart.
var (
	ErrLocked   = errors.New("another tlsfleet agent uses the state folder")
	ErrNotTmpfs = errors.New("not on tmpfs or ramfs")
	ErrNotNginx = errors.New("not the nginx that tlsfleet manages")
	ErrRing     = errors.New("not a usable ring")
	// ErrNotIncluded means that nginx does not read tlsfleet's releases.
	ErrNotIncluded = errors.New("nginx does not include the releases of tlsfleet")
)

// Names of the steps of Apply, as Config.OnStep sees them, each just after
// the step is done.
const (
	StepKeysWritten = "keys-written"
	StepStaged      = "staged"
	StepTested      = "tested"
	StepFlipped     = "flipped"
	StepSignalled   = "signalled"
	StepAnswered    = "answered"
	StepVerified    = "verified"
	StepGood        = "good"

	// In place of the last ones, of a release that is taken back.
	StepTakenBack     = "taken-back" // current names the release before again
	StepBackSignalled = "back-signalled"
	StepBackProved    = "back-proved" // or not, in time
	StepMarkedBad     = "marked-bad"
)

// Steps lists the steps of a release that is proved, in their order.
func Steps() []string {
	return []string{StepKeysWritten, StepStaged, StepTested, StepFlipped, StepSignalled, StepAnswered, StepVerified, StepGood}
}

// RollBackSteps lists the steps of taking a release back, in their order.
func RollBackSteps() []string {
	return []string{StepTakenBack, StepBackSignalled, StepBackProved, StepMarkedBad}
}

// Names of the steps of a change of certificates, also for Config.OnStep.
const (
	StepInventorySaved = "inventory-saved"
	StepBundleStaged   = "bundle-staged"    // in a folder beside its place
	StepBundlePut      = "bundle-put"       // not yet served
	StepLinkMade       = "link-made"        // beside the one it replaces
	StepLive           = "live"             // one name of possibly many
	StepDropped        = "dropped"          // likewise
	StepBundleGone     = "bundle-taken-out" // its files are still there
)

// CertSteps lists the steps of a change of certificates.
func CertSteps() []string {
	return []string{StepInventorySaved, StepBundleStaged, StepBundlePut, StepLinkMade, StepLive, StepDropped, StepBundleGone}
}

// Config says where nginx and the state of the renderer are. All paths are
// absolute.
type Config struct {
	Binary     string // nginx
	ConfigFile string // the main configuration file nginx is started with
	PIDFile    string // directive pid
	Prefix     string // option -p of nginx; default: that of the running master

	StateDir            string // survives a reboot: releases, epoch, lock
	RunDir              string // tmpfs: ticket keys
	AllowPersistentKeys bool   // RunDir may be on a disk
	WorkerGroup         string // may read private keys; default: what nginx's configuration says, else what nginx was built with

	DefaultServers []string      // listen parameters of servers that refuse unknown names: "443 ssl"
	ReleaseAddress string        // listen address of the server that answers GET /release, on loopback
	SessionTimeout time.Duration // ssl_session_timeout where the operator sets none; 0 leaves nginx's default

	VerifyTimeout  time.Duration // for a release to be proved, and again for a roll back; default 30 s
	OldWorkerLimit time.Duration // for old workers to live on after an urgent release; default 30 s

	Log    hclog.Logger      // default: none
	OnStep func(step string) // called after each step; nil for none
}

// Prober looks at listeners from outside.
type Prober interface {
	// Prove makes handshakes with each listener and returns one proof for
	// each, in the same order.
	Prove(ctx context.Context, ls []fleet.Listener) []fleet.ListenerProof
}

func (c Config) withDefaults() Config {
	if c.VerifyTimeout <= 0 {
		c.VerifyTimeout = 30 * time.Second
	}
	if c.OldWorkerLimit <= 0 {
		c.OldWorkerLimit = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	return c
}

func (c Config) check() error {
	paths := []struct{ name, path string }{
		{"nginx binary", c.Binary},
		{"nginx configuration file", c.ConfigFile},
		{"nginx pid file", c.PIDFile},
		{"state folder", c.StateDir},
		{"run folder", c.RunDir},
	}
	for _, p := range paths {
		if !filepath.IsAbs(p.path) {
			return fmt.Errorf("use %s %q: not an absolute path", p.name, p.path)
		}
		if filepath.Clean(p.path) != p.path {
			return fmt.Errorf("use %s %q: write it as %q", p.name, p.path, filepath.Clean(p.path))
		}
	}
	if c.Prefix != "" && !filepath.IsAbs(c.Prefix) {
		return fmt.Errorf("use nginx prefix %q: not an absolute path", c.Prefix)
	}
	if c.ReleaseAddress == "" {
		return errors.New("use release address: none given")
	}
	return nil
}

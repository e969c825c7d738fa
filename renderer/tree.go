package renderer

import (
	"path/filepath"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Names in and below StateDir where the certificates are.
const (
	fullchainFile = "fullchain.pem"
	privkeyFile   = "privkey.pem"
	rootDir       = "root"   // stays empty: what nginx serves where no location says otherwise
	gonePrefix    = ".gone-" // a bundle being removed
	noneName      = "_none"  // where nginx is sent for names without a certificate; never there
)

// wildcardFolder is what the folder of a wildcard name begins with. A '*' is
// a danger in shells, and '+' is in no domain name, so that no SNI leads there.
const wildcardFolder = "+."

func (c Config) storeDir() string     { return filepath.Join(c.StateDir, "store") }
func (c Config) liveDir() string      { return filepath.Join(c.StateDir, "live") }
func (c Config) inventoryDir() string { return filepath.Join(c.StateDir, "inventory") }

func (c Config) bundleDir(hash fleet.Hash) string {
	return filepath.Join(c.storeDir(), hash.String())
}

// liveTarget is the text of the link of a name that a bundle is live for.
func liveTarget(hash fleet.Hash) string { return "../store/" + hash.String() }

// liveHash reads what liveTarget wrote.
func liveHash(target string) (fleet.Hash, bool) {
	hash, err := fleet.ParseHash(filepath.Base(target))
	return hash, err == nil && !hash.IsZero() && target == liveTarget(hash)
}

// LiveFolder is the entry of a name in StateDir/live: the name itself, and
// "+.example.com" for "*.example.com". Names that fleet.CheckDomain refuses
// have none.
func LiveFolder(name string) (string, error) {
	if err := fleet.CheckDomain(name); err != nil {
		return "", err
	}
	if base, ok := strings.CutPrefix(name, fleet.Wildcard); ok {
		return wildcardFolder + base, nil
	}
	return name, nil
}

// liveName reads what LiveFolder made.
func liveName(folder string) (string, bool) {
	name := folder
	if base, ok := strings.CutPrefix(folder, wildcardFolder); ok {
		name = fleet.Wildcard + base
	}
	again, err := LiveFolder(name)
	return name, err == nil && again == folder
}

// openTree makes the folders of the certificates and removes what a killed
// agent left half-written in them.
func (r *Renderer) openTree() error {
	if err := makeFolders(r.cfg.storeDir(), r.cfg.liveDir()); err != nil {
		return err
	}
	if err := makeDir(r.cfg.inventoryDir(), 0o700); err != nil {
		return err
	}
	half := func(prefixes ...string) func(string) bool {
		return func(name string) bool {
			for _, p := range prefixes {
				if strings.HasPrefix(name, p) {
					return true
				}
			}
			return false
		}
	}
	if err := removeMatching(r.cfg.storeDir(), half(stagePrefix, gonePrefix)); err != nil {
		return err
	}
	if err := removeMatching(r.cfg.liveDir(), half(linkPrefix)); err != nil {
		return err
	}
	return removeMatching(r.cfg.inventoryDir(), half("."))
}

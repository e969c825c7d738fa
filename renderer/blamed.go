package renderer

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Leaf is the certificate of a bundle in the store, without its chain, in DER.
func (r *Renderer) Leaf(hash fleet.Hash) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(r.cfg.bundleDir(hash), fullchainFile))
	if err != nil {
		return nil, fmt.Errorf("read leaf: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("read leaf: no PEM in bundle %s", hash)
	}
	return block.Bytes, nil
}

// Refusal is the names whose live certificate nginx refuses to load.
type Refusal map[string]Blamed

// Blamed is what a name is live with, and what nginx says of it.
type Blamed struct {
	Bundle fleet.Hash
	Why    string
}

// TestLive asks nginx -t whether it takes the configuration with what is live
// now. The Refusal is nil if it does, and empty if no certificate is to blame.
func (r *Renderer) TestLive(ctx context.Context) (Refusal, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := time.Now()
	err := r.test(ctx, r.cfg.ConfigFile)
	var refused *refusal
	if errors.As(err, &refused) {
		return r.blamed(refused.text, began), nil
	}
	return nil, err
}

// livePath is a file of a live certificate in a message of nginx.
var livePath = regexp.MustCompile(`"([^"]+)/([^"/]+)/(?:` + regexp.QuoteMeta(fullchainFile) + `|` + regexp.QuoteMeta(privkeyFile) + `)"`)

// unopened is what nginx and OpenSSL say of a file that could not be opened,
// which no certificate is to blame for.
const unopened = "BIO_new_file() failed"

// blamed finds the names whose live certificate nginx refuses to load. Those
// whose link is newer than the test, or whose files others have changed, are
// not listed: it was not their bundle that was refused.
func (r *Renderer) blamed(text string, began time.Time) Refusal {
	out := Refusal{}
	for line := range strings.Lines(text) {
		if strings.Contains(line, unopened) {
			continue
		}
		for _, m := range livePath.FindAllStringSubmatch(line, -1) {
			name, ok := liveName(m[2])
			if !ok || m[1] != r.cfg.liveDir() && !sameFile(m[1], r.cfg.liveDir()) {
				continue
			}
			hash, ok := r.liveBefore(m[2], began)
			if !ok {
				continue
			}
			if _, whole := r.CheckBundle(hash); whole == nil {
				continue
			}
			why := strings.TrimSpace(line)
			if said := fatalLine.FindStringSubmatch(why); said != nil {
				why = said[1]
			}
			out[name] = Blamed{hash, why}
		}
	}
	return out
}

// liveBefore is the bundle that an entry of the live folder leads to, if it
// did so already at a time.
func (r *Renderer) liveBefore(folder string, at time.Time) (fleet.Hash, bool) {
	path := filepath.Join(r.cfg.liveDir(), folder)
	info, err := os.Lstat(path)
	if err != nil || info.ModTime().After(at) {
		return fleet.Hash{}, false
	}
	target, err := os.Readlink(path)
	if err != nil {
		return fleet.Hash{}, false
	}
	return liveHash(target)
}

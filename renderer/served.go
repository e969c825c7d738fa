package renderer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/templates"
)

// served looks into the live folder for names that a handshake can be made
// with.
type served struct{ liveDir string }

// isLive reports whether the server's certificate is the live one of the name
// a client asks for.
func (s settings) isLive() bool { return strings.HasPrefix(s.certificate, templates.DirVariable+"/") }

// pick is a host name with a live certificate that a server with these
// server_names answers to; "" if there is none.
func (l served) pick(serverNames []string) string {
	for _, written := range serverNames {
		if strings.HasPrefix(written, "~") {
			if name := l.any(); name != "" {
				return name
			}
			continue
		}
		if folder, err := LiveFolder(written); err == nil && l.has(folder) {
			return hostOf(written)
		}
	}
	return ""
}

// has reports whether nginx finds a certificate in an entry.
func (l served) has(folder string) bool {
	_, err := os.Stat(filepath.Join(l.liveDir, folder, fullchainFile))
	return err == nil
}

// anyBatch is how many entries are looked at for one to be chosen from.
const anyBatch = 256

// any is some exact name with a certificate. A wildcard is served by an open
// server only as it is listed, so it is not chosen here.
func (l served) any() string {
	dir, err := os.Open(l.liveDir)
	if err != nil {
		return ""
	}
	chosen := ""
	for chosen == "" {
		folders, err := dir.Readdirnames(anyBatch)
		if err != nil {
			break
		}
		slices.Sort(folders)
		for _, folder := range folders {
			if name, ok := liveName(folder); ok && !strings.HasPrefix(name, fleet.Wildcard) && l.has(folder) {
				chosen = name
				break
			}
		}
	}
	if err := dir.Close(); err != nil {
		return ""
	}
	return chosen
}

// hostOf is a host name for SNI that a stored name stands for.
func hostOf(name string) string {
	if base, ok := strings.CutPrefix(name, fleet.Wildcard); ok {
		return probeLabel + "." + base
	}
	return name
}

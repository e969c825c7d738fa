package renderer

import (
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// sniNames are the names of a sniRig.
var sniNames = []string{"*.w.test", "a.test", "own.w.test", "x_1.test", "xn--bcher-kva.test"}

// sniRig is a running nginx whose worker is watched.
type sniRig struct {
	*tlsRig
	mode   NameMode
	leaves map[string]string // DER, by name
}

// newSNIRig starts nginx with pairs of an outsider wherever a path that leaves
// the live folder may lead to, and watches its worker until t ends: then every
// path that the worker has given to the kernel must be inside of the tree.
func newSNIRig(t testing.TB, mode NameMode) *sniRig {
	t.Helper()
	g := &sniRig{newTLSRig(t, testkit.NginxOptions{}), mode, map[string]string{}}
	for name, hash := range g.put(t, sniNames...) {
		block, _ := pem.Decode([]byte(read(t, filepath.Join(g.cfg.bundleDir(hash), fullchainFile))))
		g.leaves[name] = string(block.Bytes)
	}
	g.serve(t, g.servers(mode, sniNames...))
	plantOutsiders(t, g.cfg)
	trace := watchFiles(t, g.onlyWorker(t))
	t.Cleanup(func() { g.staysInside(t, trace()) })
	g.try(t, "a.test") // something to see, also in a process of the fuzzer that tries nothing
	return g
}

// plantOutsiders writes bundles that nobody may be shown.
func plantOutsiders(t testing.TB, c Config) {
	t.Helper()
	certPEM, keyPEM := testkit.SelfSigned(t, "outsider.test")
	parent := filepath.Dir(c.StateDir)
	for _, dir := range []string{parent, parent + "/outside", c.StateDir, c.StateDir + "/outside", c.storeDir(), c.storeDir() + "/outside", c.liveDir(), c.liveDir() + "/..."} {
		for path, text := range map[string][]byte{fullchainFile: certPEM, privkeyFile: keyPEM, rootDir + "/index.html": nil} {
			path = filepath.Join(dir, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Chmod(filepath.Dir(path), 0o755), os.Chmod(path, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// onlyWorker waits for the end of the worker that was there before the certificates.
func (g *tlsRig) onlyWorker(t testing.TB) (pid int) {
	t.Helper()
	testkit.Eventually(t, 50*time.Second, "one worker", func() error {
		ws, err := workers(g.nginx.PID())
		if err == nil && len(ws) != 1 {
			err = fmt.Errorf("workers = %+v", ws)
		}
		if err == nil {
			pid = ws[0].pid
		}
		return err
	})
	return pid
}

// staysInside fails unless every path is on the way to the live folder, in it
// or in the store, and leads nowhere else.
func (g *sniRig) staysInside(t testing.TB, paths []string) {
	t.Helper()
	live, store := g.cfg.liveDir(), g.cfg.storeDir()
	seen := false
	for _, path := range paths {
		seen = seen || strings.HasSuffix(path, "/"+privkeyFile)
		onTheWay := isBelow(live, path) || isBelow(store, path)
		inside := isBelow(path, live) || isBelow(path, store)
		if path != filepath.Clean(path) || (!onTheWay && !inside) {
			t.Errorf("the worker looks for %q, want paths below %s and %s", path, live, store)
		}
	}
	if !seen {
		t.Errorf("the worker opened no private key among %d files: was it watched?", len(paths))
	}
}

// isBelow reports whether a path is a folder or below it.
func isBelow(path, dir string) bool {
	return strings.HasPrefix(path+"/", strings.TrimSuffix(dir, "/")+"/")
}

// expect is the leaf for a server name, "" for a refusal. A name that nginx may
// take either way is not sure.
func (g *sniRig) expect(sni string) (leaf string, sure bool) {
	name := strings.TrimSuffix(strings.ToLower(sni), ".")
	if g.mode == NamesOpen && strings.TrimSuffix(sni, ".") != name && !strings.HasSuffix(name, ".w.test") {
		return "", true
	}
	if fleet.CheckDomain(name) != nil || strings.HasPrefix(name, fleet.Wildcard) {
		// A label that no certificate has, such as one that ends in a hyphen,
		// may be below the wildcard.
		return g.leaves["*.w.test"], false
	}
	if leaf, ok := g.leaves[name]; ok {
		return leaf, g.mode == NamesListed || strings.TrimSuffix(sni, ".") == name
	}
	_, above, _ := strings.Cut(name, ".")
	return g.leaves[fleet.Wildcard+above], true
}

// try makes one handshake.
func (g *sniRig) try(t testing.TB, sni string) {
	t.Helper()
	if len(sni) > 16000 {
		return // does not fit into one record
	}
	want, sure := g.expect(sni)
	leaf, err := leafFor(g.addr, clientHello(serverNames(sni)))
	if err != nil && !endedByNginx(err) {
		t.Errorf("handshake for %q = %v, want an answer", sni, err)
	}
	switch {
	case leaf == want, !sure && leaf == "":
	default:
		t.Errorf("handshake for %q shows a leaf of %d bytes, want that of %d (%t)", sni, len(leaf), len(want), sure)
	}
}

// tryRaw sends any bytes as the extension server_name.
func (g *sniRig) tryRaw(t testing.TB, body []byte) {
	t.Helper()
	if len(body) > 16000 {
		return
	}
	leaf, err := leafFor(g.addr, clientHello(body))
	if err != nil && !endedByNginx(err) {
		t.Errorf("handshake with the extension %x = %v, want an answer", body, err)
	}
	if leaf == "" {
		return
	}
	for _, ours := range g.leaves {
		if leaf == ours {
			return
		}
	}
	t.Errorf("handshake with the extension %x shows a certificate of nobody", body)
}

// endedByNginx reports whether nginx has ended a handshake.
func endedByNginx(err error) bool {
	var timeout net.Error
	return errors.Is(err, errRefused) || errors.Is(err, syscall.EPIPE) || (!errors.As(err, &timeout) && errors.Is(err, syscall.ECONNRESET))
}

// sniSeeds are server names to begin with.
func sniSeeds() []string {
	return []string{
		"", ".", "..", "...", "a.test", "A.test", "a.test.", "a.test..", "own.w.test", "x.w.test", "a.b.w.test", "X.W.TEST.", "*.w.test", "+.w.test", "w.test", "_none", "none.test",
		"../outside", "../../outside", "../store/outside", "..%2foutside", "%2e%2e/outside", "%2e%2e%2foutside", "..\\outside", "./a.test", "/a.test", "//a.test", "a.test/", "a.test/../a.test",
		"outside", "live", "store", "root", "a.test/root", "a.test\x00", "a.test\x00.test", "\x00", "a.test\n", "\ra.test", " a.test", "a.test ", "\x7f", "\xff\xfe", "\xc3\xbc.test", "b\xc3\xbccher.test",
		"xn--bcher-kva.test", "xn--", "127.0.0.1", "::1", "[::1]", "a.test:443", "$host", "${live}", "$tlsfleet_name", "{", "}", ";", "a.test;", "~^", "a..b", "-a.w.test", "a-.w.test", "%00.w.test",
		strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 126) + "test", strings.Repeat("a", 255), strings.Repeat("a", 256), strings.Repeat("../", 85), strings.Repeat("x.", 150) + "w.test", strings.Repeat("a", 4097),
	}
}

// rawSeeds are bodies of the extension that are no list of one name.
func rawSeeds() [][]byte {
	one := serverNames("a.test")
	return [][]byte{
		{}, {0}, {0, 0}, {0, 1, 0}, {0, 3, 0, 0, 0}, {0xff, 0xff, 0, 0, 1, 'a'}, one[:len(one)-1], append(append([]byte{}, one...), 0),
		serverNames("a.test", "own.w.test"), serverNames("../outside", "a.test"), serverNames("a.test", "../outside"),
		u16(append([]byte{1}, u16([]byte("a.test"))...)),
	}
}

// sniWords are what random server names are made of.
var sniWords = []string{"..", ".", "/", "\\", "%2e", "%2f", "%00", "\x00", "a.test", "own", "w.test", ".w.test", "outside", "store", "live", "root", "_none", "+.", "*.", "$", "{", "~", "A", "\xff", "-", "x_1.test", "a"}

// randomSNI is words and bytes in any order.
func randomSNI(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(8) {
		if r.IntN(4) == 0 {
			b.WriteByte(byte(r.UintN(256)))
			continue
		}
		b.WriteString(sniWords[r.IntN(len(sniWords))])
	}
	return b.String()
}

// randomSNIs is how many random names a test tries.
const randomSNIs = 1500

func TestServerNamesOpenNoFileOutsideTheTree(t *testing.T) {
	t.Parallel()
	for _, mode := range []NameMode{NamesOpen, NamesListed} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			g := newSNIRig(t, mode)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			for _, sni := range sniSeeds() {
				g.try(t, sni)
			}
			for _, body := range rawSeeds() {
				g.tryRaw(t, body)
			}
			for range randomSNIs {
				g.try(t, randomSNI(r))
			}
		})
	}
}

// FuzzServerName sends any server name, or any body of its extension, to an
// nginx with open and to one with listed names.
func FuzzServerName(f *testing.F) {
	for _, sni := range sniSeeds() {
		f.Add([]byte(sni), false)
	}
	for _, body := range rawSeeds() {
		f.Add(body, true)
	}
	rigs := []*sniRig{newSNIRig(f, NamesOpen), newSNIRig(f, NamesListed)}
	f.Fuzz(func(t *testing.T, text []byte, raw bool) {
		for _, g := range rigs {
			if raw {
				g.tryRaw(t, text)
			} else {
				g.try(t, string(text))
			}
		}
	})
}

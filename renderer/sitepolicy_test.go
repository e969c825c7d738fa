package renderer

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/site"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/templates"
)

// offer is what a client offers; 0 is what Go offers.
type offer struct {
	version uint16
	curve   tls.CurveID
	suite   uint16 // of TLS 1.2
}

func (o offer) String() string {
	return fmt.Sprintf("%s %v %s", tls.VersionName(o.version), o.curve, tls.CipherSuiteName(o.suite))
}

// refusalOf is why a handshake with a name is refused; empty if it is not.
func refusalOf(t *testing.T, addr, name string, o offer) string {
	t.Helper()
	c := &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: o.version, MaxVersion: o.version} //nolint:gosec // what is served is not asked
	if o.curve != 0 {
		c.CurvePreferences = []tls.CurveID{o.curve}
	}
	if o.suite != 0 {
		c.CipherSuites = []uint16{o.suite}
	}
	raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close() //nolint:errcheck // nothing is sent
	if err := tls.Client(raw, c).HandshakeContext(t.Context()); err != nil {
		return err.Error()
	}
	return ""
}

// policySite is a site of a name on a socket of its own; on the node's without one.
func policySite(id, name, listen, policy string) string {
	own := ""
	if listen != "" {
		own = fmt.Sprintf("listen = [%q]\nhttp = \"off\"\n", listen)
	}
	return fmt.Sprintf("site %q {\nserver_names = [%q]\nbackends {\nservice = \"x\"\n}\n%stls {\n%s\n}\n}\n", id, name, own, policy)
}

// TestPoliciesAreSpoken shakes hands with each policy: what it does not have is
// refused, and for that reason.
func TestPoliciesAreSpoken(t *testing.T) {
	const (
		version, parameters = "protocol version not supported", "handshake failure"
		gcm128, gcm256      = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
		cbc                 = tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA
		v11, v12, v13       = tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13
	)
	mozilla := map[offer]string{
		{v13, 0, 0}: "", {v13, tls.X25519, 0}: "", {v13, tls.CurveP256, 0}: "", {v13, tls.CurveP384, 0}: "",
		{v13, tls.CurveP521, 0}: parameters, {v11, 0, 0}: version,
	}
	tests := map[string]struct {
		policy string
		shared bool // on the node's socket
		want   map[offer]string
	}{
		"intermediate": {`policy = "intermediate"`, true, map[offer]string{
			{v12, 0, 0}: "", {v12, tls.CurveP256, gcm128}: "", {v12, 0, gcm256}: "", {v12, 0, cbc}: parameters,
		}},
		"modern": {`policy = "modern"`, false, map[offer]string{{v12, 0, 0}: version}},
		"custom without curves": {"policy = \"custom\"\nprotocols = [\"TLSv1.2\", \"TLSv1.3\"]\nciphers = \"ECDHE-ECDSA-AES256-GCM-SHA384\"", false, map[offer]string{
			{v12, 0, 0}: "", {v12, 0, gcm256}: "", {v12, 0, gcm128}: parameters,
		}},
		"custom": {"policy = \"custom\"\nprotocols = [\"TLSv1.3\", \"TLSv1.2\"]\ncurves = \"P-521:P-256\"", false, map[offer]string{
			{v13, tls.CurveP521, 0}: "", {v13, tls.CurveP384, 0}: parameters, {v13, tls.X25519, 0}: parameters, {v12, 0, 0}: "",
		}},
		"TLS 1.2 alone": {"policy = \"custom\"\nprotocols = [\"TLSv1.2\"]", false, map[offer]string{
			{v12, 0, 0}: "", {v13, 0, 0}: version, {v13, tls.X25519, 0}: version, {v13, tls.CurveP256, 0}: version,
			{v13, tls.CurveP384, 0}: version, {v13, tls.CurveP521, 0}: version,
		}},
	}
	g := newSiteRig(t)
	// OpenSSL as Debian has it refuses TLS 1.1 for the security level alone.
	write(t, g.nginx.ConfigFile, strings.Replace(read(t, g.nginx.ConfigFile), "access_log off;", "access_log off; ssl_ciphers ALL:@SECLEVEL=0;", 1))
	var text strings.Builder
	sockets := map[string]string{}
	for name, tt := range tests {
		own := ""
		if sockets[name] = address1(g.Listen[0]); !tt.shared {
			own = fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))
			sockets[name] = own
		}
		text.WriteString(policySite(strings.ReplaceAll(strings.ToLower(name), " ", "-"), "a.test", own, tt.policy))
	}
	g.put(t, sitesOf(t, text.String()))
	g.nginx.Start(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, list := range []map[offer]string{mozilla, tt.want} {
				for o, want := range list {
					if own, ok := tt.want[o]; ok {
						want = own
					}
					if got := refusalOf(t, sockets[name], "a.test", o); want == "" && got != "" || !strings.Contains(got, want) {
						t.Errorf("%s: refused with %q, want %q", o, got, want)
					}
				}
			}
		})
	}
}

// TestDefaultServersHaveTheCurvesOfSites: where the node's configuration has
// the default servers, they get what sites there need, as long as there are any.
func TestDefaultServersHaveTheCurvesOfSites(t *testing.T) {
	tests := map[string]struct {
		http            string
		served, refused tls.CurveID
	}{
		"nobody says":       {"", tls.CurveP384, tls.CurveP521},
		"the operator says": {"ssl_ecdh_curve secp521r1;", tls.CurveP521, tls.CurveP384},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g, release := sitesRig(t)
			write(t, g.nginx.ConfigFile, strings.Replace(read(t, g.nginx.ConfigFile), "access_log off;", "access_log off; "+tt.http, 1))
			rel := release(hclSite("a", "a.test", ""))
			g.reopen(t, func(c *Config) { c.DefaultServers = rel.Sites.Listen })
			g.nginx.Start(t)
			kept := ringRelease(newRing(t, 2))
			kept.Sites.Keep = true
			for _, r := range []Release{rel, kept} {
				g.mustProve(t, r)
				for curve, served := range map[tls.CurveID]bool{tt.served: true, tt.refused: false} {
					if got := refusalOf(t, address1(rel.Sites.Listen[0]), "a.test", offer{version: tls.VersionTLS13, curve: curve}); (got == "") != served {
						t.Errorf("%v is refused with %q, want it served: %t", curve, got, served)
					}
				}
				if why, err := g.Outdated(r.TLS, r.Challenges); err != nil || why != "" {
					t.Errorf("Outdated() = %q, %v, want nothing", why, err)
				}
			}
			g.mustProve(t, ringRelease(newRing(t, 3)))
			if text := read(t, filepath.Join(g.cfg.currentDir(), templates.DefaultFile)); strings.Contains(text, "ssl_ecdh_curve") {
				t.Errorf("%s without sites =\n%s\nwant it as it was before them", templates.DefaultFile, text)
			}
		})
	}
}

// TestCurvesThatOpenSSLDoesNotKnow cost the site alone that asks for them,
// although the default server of its socket has them too.
func TestCurvesThatOpenSSLDoesNotKnow(t *testing.T) {
	g, release := sitesRig(t)
	own := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))
	const custom = "\nlisten = [%q]\nhttp = \"off\"\ntls {\npolicy = \"custom\"\nprotocols = [\"TLSv1.3\"]\ncurves = %q\n}\n"
	rel := release(hclSite("a", "a.test", "") + hclSite("b", "b.test", fmt.Sprintf(custom, own, "X25519:no-such")))
	g.reopen(t, func(c *Config) { c.DefaultServers = []string{rel.Sites.Listen[0], own + " ssl"} })
	g.nginx.Start(t)
	g.mustProve(t, rel)
	if made := g.active(t).Sites; made.Served != 1 || !strings.Contains(made.Left["b"], "no-such") {
		t.Errorf("sites = %+v, want b left out for its curves", made)
	}
	again := release(hclSite("a", "a.test", "") + hclSite("b", "b.test", fmt.Sprintf(custom, own, "prime256v1")))
	again.Ring = newRing(t, 2)
	g.mustProve(t, again) // by handshake there too
	for curve, served := range map[tls.CurveID]bool{tls.CurveP256: true, tls.X25519: false} {
		if got := refusalOf(t, own, "b.test", offer{version: tls.VersionTLS13, curve: curve}); (got == "") != served {
			t.Errorf("%v is refused with %q, want it served: %t", curve, got, served)
		}
	}
}

// TestSitesOfBeforeDoNotDecideForOthers: one that asks for what it does not get
// on the node's sockets is served, and they have what all other sites need.
func TestSitesOfBeforeDoNotDecideForOthers(t *testing.T) {
	kept := sitesOf(t, hclSite("a", "a.test", ""))[0]
	kept.TLS = site.TLS{Policy: site.Custom, Protocols: []string{site.TLS12}, Curves: "X448"}
	const protocols, curves = "ssl_protocols TLSv1.2 TLSv1.3;", "ssl_ecdh_curve X25519:prime256v1:secp384r1;"
	for name, tt := range map[string]struct {
		sites []site.Site
		want  int // lines with curves
	}{
		"alone":  {[]site.Site{kept}, 0},
		"first":  {append([]site.Site{kept}, sitesOf(t, hclSite("b", "b.test", ""))...), 1},
		"second": {append(sitesOf(t, hclSite("0", "b.test", "")), kept), 1},
	} {
		f, err := SitesShared(siteFrame(t, ""), tt.sites, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(f.Text); strings.Count(text, protocols) != 1 || strings.Count(text, "ssl_ecdh_curve") != tt.want || strings.Count(text, curves) != tt.want {
			t.Errorf("%s: %s =\n%s\nwant %s, and curves %d times", name, f.Name, text, protocols, tt.want)
		}
	}
}

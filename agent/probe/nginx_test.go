package probe_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/probe"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// keyFile writes a random ticket key of size bytes and returns its path and name.
func keyFile(t *testing.T, size int) (string, fleet.KeyName) {
	t.Helper()
	raw := make([]byte, size)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ticket.key")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, fleet.TicketKey{Raw: fleet.NewSecret(raw)}.Name()
}

// serve starts nginx and returns its TLS listener.
func serve(t *testing.T, o testkit.NginxOptions) fleet.Listener {
	t.Helper()
	n := testkit.NewNginx(t, o)
	n.Start(t)
	return fleet.Listener{Network: "tcp", Address: n.TLSAddrs[0], Listen: n.TLSAddrs[0], ServerName: n.Names[0]}
}

// proveOne proves one listener with the zero Prober.
func proveOne(t *testing.T, l fleet.Listener) fleet.ListenerProof {
	t.Helper()
	proofs := (&probe.Prober{}).Prove(t.Context(), []fleet.Listener{l})
	if len(proofs) != 1 || proofs[0].Listen != l.Listen || proofs[0].Address != l.Address {
		t.Fatalf("Prove(%v) = %v, want one proof of it", l, proofs)
	}
	return proofs[0]
}

func wantKey(t *testing.T, p fleet.ListenerProof, want fleet.KeyName) {
	t.Helper()
	if p.Skipped != "" || len(p.TLS) != 2 {
		t.Fatalf("Prove = %+v, want TLS 1.2 and 1.3", p)
	}
	for i, version := range []string{"1.2", "1.3"} {
		if got := p.TLS[i]; got != (fleet.TicketSeen{Version: version, Key: want}) {
			t.Errorf("Prove TLS[%d] = %+v, want key %s in TLS %s", i, got, want, version)
		}
	}
	if err := probe.Proved([]fleet.ListenerProof{p}, want); err != nil {
		t.Errorf("Proved(%s) = %v, want nil", want, err)
	}
}

func TestProveSeesKeyName(t *testing.T) {
	for _, size := range []int{fleet.KeySize128, fleet.KeySize256} {
		key, name := keyFile(t, size)
		second, _ := keyFile(t, size)
		http := fmt.Sprintf("ssl_session_ticket_key %s; ssl_session_ticket_key %s;", key, second)
		tests := map[string]testkit.NginxOptions{
			"plain":                    {HTTP: http},
			"client certificates":      {HTTP: http, Server: "ssl_verify_client on; ssl_client_certificate cert.pem;"},
			"session cache":            {HTTP: http + "ssl_session_cache shared:s:1m;"},
			"default rejects":          {HTTP: http, Reject: true},
			"http2":                    {HTTP: http, Listen: "http2"},
			"ciphers that Go disables": {HTTP: http, Server: "ssl_ciphers ECDHE-ECDSA-AES128-SHA256;"},
		}
		for what, o := range tests {
			t.Run(fmt.Sprintf("%d bytes, %s", size, what), func(t *testing.T) {
				wantKey(t, proveOne(t, serve(t, o)), name)
			})
		}
	}
}

func TestProveSeesKeyNameWithoutSNI(t *testing.T) {
	key, name := keyFile(t, fleet.KeySize256)
	l := serve(t, testkit.NginxOptions{HTTP: "ssl_session_ticket_key " + key + ";"})
	l.ServerName = ""
	wantKey(t, proveOne(t, l), name)
}

func TestProveIPv6(t *testing.T) {
	key, name := keyFile(t, fleet.KeySize256)
	addr := fmt.Sprintf("[::1]:%d", testkit.FreePort(t, "::1"))
	serve(t, testkit.NginxOptions{HTTP: fmt.Sprintf(`
		ssl_session_ticket_key %s;
		server {
			listen %s ssl;
			ssl_certificate cert.pem;
			ssl_certificate_key key.pem;
		}`, key, addr)})
	wantKey(t, proveOne(t, fleet.Listener{Network: "tcp", Address: addr, Listen: addr}), name)
}

func TestProveSeesKeyThatHidesTheRing(t *testing.T) {
	ring, name := keyFile(t, fleet.KeySize256)
	own, ownName := keyFile(t, fleet.KeySize128)
	l := serve(t, testkit.NginxOptions{
		HTTP:   "ssl_session_ticket_key " + ring + ";",
		Server: "ssl_session_ticket_key " + own + ";",
	})
	p := proveOne(t, l)
	wantKey(t, p, ownName)
	err := probe.Proved([]fleet.ListenerProof{p}, name)
	for _, want := range []string{l.Listen, "TLS 1.2: sealed with key " + ownName.String(), "TLS 1.3: sealed", "want " + name.String()} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Proved = %v, want %q in it", err, want)
		}
	}
}

func TestProveNamesAbsentVersion(t *testing.T) {
	for version, other := range map[string]string{"1.2": "1.3", "1.3": "1.2"} {
		t.Run(version+" only", func(t *testing.T) {
			key, name := keyFile(t, fleet.KeySize256)
			// The default server of a socket decides; a second ssl_protocols would clash.
			l := serve(t, testkit.NginxOptions{
				HTTP:   "ssl_session_ticket_key " + key + ";",
				Server: "ssl_protocols TLSv" + version + ";",
			})
			p := proveOne(t, l)
			for _, seen := range p.TLS {
				want := fleet.TicketSeen{Version: version, Key: name}
				if seen.Version == other {
					want = fleet.TicketSeen{Version: other, Absent: true}
				}
				if seen != want {
					t.Errorf("Prove = %+v, want %+v", seen, want)
				}
			}
			if err := probe.Proved([]fleet.ListenerProof{p}, name); err != nil {
				t.Errorf("Proved = %v, want nil", err)
			}
		})
	}
}

func TestProveSkips(t *testing.T) {
	for want, l := range map[string]fleet.Listener{
		"rejects every handshake": {Network: "tcp", Address: "127.0.0.1:1", RejectsAll: true, TicketsOff: true},
		"session tickets are off": {Network: "tcp", Address: "127.0.0.1:1", TicketsOff: true},
	} {
		p := proveOne(t, l)
		if p.Skipped != want || len(p.TLS) != 0 {
			t.Errorf("Prove = %+v, want skipped because %q", p, want)
		}
	}
}

// TestProveSaysWhatToDo has the ways in which a real nginx shows no ticket.
func TestProveSaysWhatToDo(t *testing.T) {
	tests := map[string]struct {
		o        testkit.NginxOptions
		change   func(*fleet.Listener)
		v12, v13 string // in the errors
	}{
		"tickets off": {
			o:   testkit.NginxOptions{Server: "ssl_session_tickets off;"},
			v12: "see that ssl_session_tickets is not off", v13: "a session id that no key sealed: see that ssl_session_tickets is not off",
		},
		"only a default server that rejects": {
			o:      testkit.NginxOptions{Reject: true},
			change: func(l *fleet.Listener) { l.ServerName = "" },
			v12:    "give a server on this socket a server_name", v13: "give a server on this socket a server_name",
		},
		"unknown name": {
			o:      testkit.NginxOptions{Reject: true},
			change: func(l *fleet.Listener) { l.ServerName = "b.test" },
			v12:    "no server on this socket serves b.test", v13: "no server on this socket serves b.test",
		},
		"certificate that cannot be loaded": {
			o:   testkit.NginxOptions{Server: "ssl_certificate /nowhere/$ssl_server_name; ssl_certificate_key /nowhere/$ssl_server_name;", Names: []string{"a.test"}},
			v12: "nginx could not load the certificate", v13: "nginx could not load the certificate",
		},
		"old versions only": {
			o:   testkit.NginxOptions{Server: "ssl_protocols TLSv1 TLSv1.1;"},
			v12: "have TLSv1.2 or TLSv1.3 in ssl_protocols", v13: "have TLSv1.2 or TLSv1.3 in ssl_protocols",
		},
		"PROXY header not sent": {
			o:   testkit.NginxOptions{Listen: "proxy_protocol"},
			v12: "if the socket expects proxy_protocol", v13: "if the socket expects proxy_protocol",
		},
		"PROXY header not expected": {
			change: func(l *fleet.Listener) { l.ProxyProto = true },
			v12:    "there is no TLS on this socket", v13: "there is no TLS on this socket",
		},
		"socket path for an address": {
			change: func(l *fleet.Listener) { l.Network, l.Address = "unix", "/nowhere/a.sock" },
			v12:    "see that nginx runs and listens there", v13: "see that nginx runs and listens there",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := serve(t, tc.o)
			if tc.change != nil {
				tc.change(&l)
			}
			p := proveOne(t, l)
			for i, want := range []string{tc.v12, tc.v13} {
				if got := p.TLS[i]; !got.Key.IsZero() || !strings.Contains(got.Err, want) {
					t.Errorf("Prove TLS %s = %+v, want an error with %q", got.Version, got, want)
				}
			}
			if err := probe.Proved([]fleet.ListenerProof{p}, fleet.KeyName{1}); err == nil {
				t.Errorf("Proved(%+v) = nil, want an error", p)
			}
		})
	}
}

func TestProveSpeaksPROXYProtocol(t *testing.T) {
	key, name := keyFile(t, fleet.KeySize256)
	l := serve(t, testkit.NginxOptions{HTTP: "ssl_session_ticket_key " + key + ";", Listen: "proxy_protocol"})
	l.ProxyProto = true
	wantKey(t, proveOne(t, l), name)
}

func TestProveUnixSocket(t *testing.T) {
	for _, proxy := range []bool{false, true} {
		t.Run(fmt.Sprintf("PROXY %v", proxy), func(t *testing.T) {
			key, name := keyFile(t, fleet.KeySize256)
			socket := filepath.Join(testkit.TmpfsDir(t), "tls.sock")
			listen := "unix:" + socket + " ssl"
			if proxy {
				listen += " proxy_protocol"
			}
			serve(t, testkit.NginxOptions{HTTP: fmt.Sprintf(`
				ssl_session_ticket_key %s;
				server {
					listen %s;
					ssl_certificate cert.pem;
					ssl_certificate_key key.pem;
				}`, key, listen)})
			for _, serverName := range []string{"", "a.test"} {
				l := fleet.Listener{Network: "unix", Address: socket, Listen: listen, ServerName: serverName, ProxyProto: proxy}
				wantKey(t, proveOne(t, l), name)
			}
		})
	}
}

func TestProveDeadPort(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))
	p := proveOne(t, fleet.Listener{Network: "tcp", Address: addr, Listen: addr})
	for _, seen := range p.TLS {
		if !strings.Contains(seen.Err, "connection refused: see that nginx runs and listens there") || seen.Absent {
			t.Errorf("Prove = %+v, want connection refused and what to do", seen)
		}
	}
}

// mute is a port that accepts connections, talks to each, says nothing more and
// keeps it open.
func mute(t *testing.T, talk func(net.Conn, *tls.Config) error) fleet.Listener {
	t.Helper()
	cert, err := tls.X509KeyPair(testkit.SelfSigned(t, "a.test"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var talks sync.WaitGroup
	talks.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			talks.Go(func() {
				if err := talk(conn, cfg); err != nil {
					t.Errorf("talk = %v, want nil", err)
				}
				// Until the other side has closed.
				if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
					t.Error(err)
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	})
	t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		talks.Wait()
	})
	return fleet.Listener{Network: "tcp", Address: ln.Addr().String(), Listen: ln.Addr().String()}
}

func sayNothing(net.Conn, *tls.Config) error { return nil }

func TestProveMutePortIsBounded(t *testing.T) {
	l := mute(t, sayNothing)
	start := time.Now()
	proofs := (&probe.Prober{Timeout: 200 * time.Millisecond}).Prove(t.Context(), []fleet.Listener{l})
	if took := time.Since(start); took < 200*time.Millisecond || took > 10*time.Second {
		t.Errorf("Prove took %s, want little more than its timeout of 200ms", took)
	}
	for _, seen := range proofs[0].TLS {
		if !strings.Contains(seen.Err, "no answer within 200ms") {
			t.Errorf("Prove = %+v, want no answer within 200ms", seen)
		}
	}
}

// TestProveWaitForTicketIsBounded has a server that shakes hands and then
// neither sends a ticket nor ends the connection.
func TestProveWaitForTicketIsBounded(t *testing.T) {
	l := mute(t, func(conn net.Conn, cfg *tls.Config) error { return tls.Server(conn, cfg).Handshake() })
	proofs := (&probe.Prober{Timeout: 3 * time.Second}).Prove(t.Context(), []fleet.Listener{l})
	for i, want := range []string{"the handshake ended without one", "none within 3s"} {
		got := proofs[0].TLS[i]
		if !strings.Contains(got.Err, want) || !strings.Contains(got.Err, "see that ssl_session_tickets is not off") {
			t.Errorf("Prove = %+v, want an error with %q", got, want)
		}
	}
}

func TestProveEndsWithContext(t *testing.T) {
	l := mute(t, sayNothing)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	(&probe.Prober{Timeout: time.Minute}).Prove(ctx, []fleet.Listener{l})
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("Prove took %s after its context, want an end with it", took)
	}
}

func TestProveKeepsOrder(t *testing.T) {
	var ls []fleet.Listener
	var names []fleet.KeyName
	for range 3 {
		key, name := keyFile(t, fleet.KeySize256)
		n := testkit.NewNginx(t, testkit.NginxOptions{Ports: 5, HTTP: "ssl_session_ticket_key " + key + ";"})
		n.Start(t)
		for _, addr := range n.TLSAddrs {
			ls = append(ls, fleet.Listener{Network: "tcp", Address: addr, Listen: addr, ServerName: "a.test"})
			names = append(names, name)
		}
	}
	ls[7].RejectsAll = true
	proofs := (&probe.Prober{}).Prove(t.Context(), ls)
	if len(proofs) != len(ls) {
		t.Fatalf("Prove has %d proofs, want %d", len(proofs), len(ls))
	}
	for i, p := range proofs {
		if p.Address != ls[i].Address {
			t.Errorf("Prove[%d] is of %s, want %s", i, p.Address, ls[i].Address)
		}
		if i != 7 {
			wantKey(t, p, names[i])
		}
	}
}

func TestResumes(t *testing.T) {
	key, _ := keyFile(t, fleet.KeySize256)
	other, _ := keyFile(t, fleet.KeySize256)
	cert, certKey := testkit.SelfSigned(t, "a.test")
	at := func(http string) fleet.Listener {
		return serve(t, testkit.NginxOptions{HTTP: http, CertPEM: cert, KeyPEM: certKey})
	}
	one := at("ssl_session_ticket_key " + key + ";")
	same := at("ssl_session_ticket_key " + other + "; ssl_session_ticket_key " + key + ";")
	foreign := at("ssl_session_ticket_key " + other + ";")
	for name, tc := range map[string]struct {
		to   fleet.Listener
		want bool
	}{
		"itself":            {one, true},
		"knows the key":     {same, true},
		"knows another key": {foreign, false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				got, err := probe.Resumes(t.Context(), one, tc.to, version)
				if err != nil || got != tc.want {
					t.Errorf("Resumes = %v, %v, want %v", got, err, tc.want)
				}
			})
		}
	}
	dead := fleet.Listener{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))}
	if _, err := probe.Resumes(t.Context(), dead, one, tls.VersionTLS13); err == nil || !strings.Contains(err.Error(), "take ticket at") {
		t.Errorf("Resumes from a dead port = %v, want an error", err)
	}
	if _, err := probe.Resumes(t.Context(), one, dead, tls.VersionTLS13); err == nil || !strings.Contains(err.Error(), "offer ticket to") {
		t.Errorf("Resumes at a dead port = %v, want an error", err)
	}
}

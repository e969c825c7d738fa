package main

import (
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

//go:embed handlers/*.sh
var handlers embed.FS

// eventName is the event the handlers wait for.
const eventName = "ssl-session-ticket-refresh"

// fireEvent is how an operator rotates the keys.
const fireEvent = `"$CONSUL" event -name="ssl-session-ticket-refresh" $(openssl rand 48 | base64)`

// watchReady is how long a watch takes, at most, until it has called its
// handler for the first time.
const watchReady = 10 * time.Second

// handlerContestant is a shell script as the handler of a `consul watch` on
// each node. Its ticket keys are in files, the first one seals.
func handlerContestant(script string, files ...string) contestant {
	return func(ctx context.Context, s *scene) (func(context.Context) error, error) {
		text, err := handlers.ReadFile("handlers/" + script)
		if err != nil {
			return nil, fmt.Errorf("read handler: %w", err)
		}
		path := filepath.Join(s.p.TempDir(), script)
		if err := os.WriteFile(path, text, 0o700); err != nil { //nolint:gosec // a script has to be executable
			return nil, fmt.Errorf("write handler: %w", err)
		}
		keys := make([][]byte, len(files))
		for i := range keys {
			keys[i] = make([]byte, 48)
			rand.Read(keys[i])
		}
		for _, n := range s.fleet.Nodes {
			if err := writeKeys(n, files, keys); err != nil {
				return nil, err
			}
		}
		s.fleet.Start(s.p)
		consul := testkit.ConsulBinary(s.p)
		env := []string{"CONSUL_HTTP_ADDR=" + s.consul.Addr, "CONSUL=" + consul}
		for _, n := range s.fleet.Nodes {
			if err := watch(ctx, s, n, append(env, handlerEnv(s, n)...), consul, path); err != nil {
				return nil, err
			}
		}
		return func(ctx context.Context) error {
			_, err := lab.Run(ctx, env, "/bin/sh", "-c", fireEvent)
			return err
		}, nil
	}
}

func keysDir(n *lab.Node) string { return filepath.Join(n.Nginx.Dir, "keys") }

// writeKeys gives a node its first keys, the same on all, and the
// configuration that names their files.
func writeKeys(n *lab.Node, files []string, keys [][]byte) error {
	if err := os.MkdirAll(keysDir(n), 0o700); err != nil {
		return fmt.Errorf("write keys of %s: %w", n.Name, err)
	}
	var conf strings.Builder
	for i, f := range files {
		path := filepath.Join(keysDir(n), f)
		if err := os.WriteFile(path, keys[i], 0o600); err != nil {
			return fmt.Errorf("write keys of %s: %w", n.Name, err)
		}
		fmt.Fprintf(&conf, "ssl_session_ticket_key %s;\n", path)
	}
	return n.WriteConfig("tickets.conf", conf.String())
}

// handlerEnv tells the script where its nginx is.
func handlerEnv(s *scene, n *lab.Node) []string {
	return []string{
		"KEYS=" + keysDir(n),
		"SPLAY_MS=" + strconv.FormatInt(s.splay.Milliseconds(), 10),
		"NGINX=" + n.Nginx.Binary,
		"PREFIX=" + n.Nginx.Dir,
		"ERROR_LOG=" + n.Nginx.ErrorLogFile,
		"CONFIG=" + n.Nginx.ConfigFile,
	}
}

// watch starts a real `consul watch` for a node and waits until it has called
// the handler with the empty list, as it does once at its start.
func watch(ctx context.Context, s *scene, n *lab.Node, env []string, consul, script string) error {
	called := filepath.Join(n.Nginx.Dir, "watch-called")
	w := lab.Start(s.p, "consul watch of "+n.Name, filepath.Join(n.Nginx.Dir, "watch.log"), append(env, "CALLED="+called),
		consul, "watch", "-type=event", "-name="+eventName, script+` && touch "$CALLED"`)
	ctx, cancel := context.WithTimeout(ctx, watchReady)
	defer cancel()
	for {
		if _, err := os.Stat(called); err == nil {
			return nil
		}
		if err := w.Ended(); err != nil {
			return err
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("wait for %s: %w: %s", w.Name, err, w.Tail())
		}
	}
}

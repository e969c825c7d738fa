package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/handlers"
)

// socketMode lets root and the socket's group in, nobody else.
const socketMode = 0o660

// Intake takes the events that a watch handler hands over. It returns once
// they are noted, not once they are acted on.
type Intake interface {
	Accept(events []fleet.Event) error
}

// Source tells what the node would report now.
type Source interface {
	Report() fleet.Report
}

// Serve answers on the unix socket at path until ctx ends, then removes it.
// The socket belongs to group, if one is named, and its members and root can hand
// over events. Certificates with their keys, and what is obtained, are for root
// and the agent's own user alone. A socket left by a dead agent is replaced.
func Serve(ctx context.Context, path, group string, src Source, in Intake, certs Certificates, names Domains) error {
	gid, err := GroupID(group)
	if err != nil {
		return fmt.Errorf("serve %s: %w", path, err)
	}
	l, err := listen(ctx, path, gid)
	if err != nil {
		return err
	}
	return serve(ctx, path, l, handler(src, in, certs, names))
}

// serve answers on a socket until ctx ends.
func serve(ctx context.Context, path string, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // of what clients do wrong
		ConnContext:       withPeer,
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", path, err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err := srv.Shutdown(stopping)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close() // a client that reads slowly holds nobody up
	}
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	if err != nil {
		return fmt.Errorf("close %s: %w", path, err)
	}
	return nil
}

// listen opens a socket that belongs to gid, or to the agent's own group for -1.
func listen(ctx context.Context, path string, gid int) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := permit(path, gid); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale takes away the socket of a dead agent, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("replace socket: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("replace socket %s: it is no socket: choose another path", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("replace socket: %w", err)
	}
	return nil
}

// Check says whether Serve could open its socket there, as far as that can be
// told while another agent has it.
func Check(path, group string) error {
	if info, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	} else if !info.IsDir() {
		return fmt.Errorf("socket %s: %s is no folder", path, filepath.Dir(path))
	}
	if _, err := GroupID(group); err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	return nil
}

// GroupID is the id of a group, -1 for the empty name.
func GroupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("find group %s: %w", group, err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return 0, fmt.Errorf("find group %s: %w", group, err)
	}
	return gid, nil
}

func permit(path string, gid int) error {
	if err := os.Chown(path, -1, gid); err != nil {
		return fmt.Errorf("give socket %s to group %d: %w", path, gid, err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return fmt.Errorf("restrict socket %s: %w", path, err)
	}
	return nil
}

func handler(src Source, in Intake, certs Certificates, names Domains) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, src.Report())
	})
	mux.HandleFunc("POST /v1/events", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, handlers.MaxWatchInput))
		if err != nil {
			answer(w, http.StatusRequestEntityTooLarge, problem{err.Error()})
			return
		}
		events, err := handlers.ParseWatch(body)
		if err != nil {
			answer(w, http.StatusBadRequest, problem{err.Error()})
			return
		}
		if err := in.Accept(events); err != nil {
			answer(w, http.StatusServiceUnavailable, problem{err.Error()})
			return
		}
		answer(w, http.StatusAccepted, struct{}{})
	})
	owned := ownerOnly("certificates are added, removed and listed by root here: use the socket that acme.domains_socket names", domains(names))
	mux.Handle(domainsPath, owned)
	mux.Handle(domainsPath+"/", owned)
	return gatewayOr(ownerOnly("private keys are for root here: use the socket that certificates.gateway_socket names", certificates(certs)), mux)
}

// problem is the body of every answer that is not a success.
type problem struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		return // the client has gone
	}
}

package testkit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	postgresReady = 60 * time.Second
	postgresStop  = 10 * time.Second
	postgresUser  = "postgres" // Debian's; the server refuses to run as root
)

// PostgresServer is a running PostgreSQL.
type PostgresServer struct {
	DSN      string // connection string, with the password
	Password string // no other server's
	Addr     string
	argv     []string
	log      *os.File
	p        *process
}

// Postgres starts a PostgreSQL of Debian's with an empty database of its own,
// which ends with tb.
func Postgres(tb TB) *PostgresServer {
	tb.Helper()
	dir, err := os.MkdirTemp("", "tlsfleet-postgres-")
	if err != nil {
		tb.Fatalf("start PostgreSQL: %v", err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Logf("remove %s: %v", dir, err)
		}
	})
	as, err := postgresAs(dir)
	if err != nil {
		tb.Fatalf("start PostgreSQL: %v", err)
	}
	port := FreePort(tb, loopback)
	s := &PostgresServer{Addr: address(loopback, port), Password: rand.Text()}
	s.DSN = fmt.Sprintf("host=%s port=%d user=tester password=%s dbname=postgres sslmode=disable", loopback, port, s.Password)
	data, password := filepath.Join(dir, "data"), filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(s.Password+"\n"), 0o644); err != nil {
		tb.Fatalf("start PostgreSQL: %v", err)
	}
	initdb := append(slices.Clone(as), postgresBinary(tb, "initdb"), "-D", data, "-U", "tester", "--pwfile", password, "--auth", "scram-sha-256", "--no-sync", "-E", "UTF8")
	cmd := exec.CommandContext(context.Background(), initdb[0], initdb[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("make database: %v\n%s", err, out)
	}
	s.argv = append(slices.Clone(as), postgresBinary(tb, "postgres"), "-D", data, "-k", dir, "-h", loopback, "-p", strconv.Itoa(port), "-c", "shared_buffers=16MB")
	if s.log, err = os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		tb.Fatalf("start PostgreSQL: %v", err)
	}
	s.Start(tb)
	tb.Cleanup(func() {
		if failed(tb) {
			tb.Logf("log of PostgreSQL:\n%s", tail(s.log))
		}
		if err := errors.Join(s.p.stop(syscall.SIGINT, postgresStop), s.log.Close()); err != nil {
			tb.Logf("%v", err)
		}
	})
	return s
}

// Start starts it again after Stop.
func (s *PostgresServer) Start(tb TB) {
	tb.Helper()
	var err error
	if s.p, err = startProcess("postgres", s.argv, s.log, syscall.SIGINT); err != nil {
		tb.Fatalf("%v", err)
	}
	Eventually(tb, postgresReady, "PostgreSQL to answer", func() error {
		if !s.p.running() {
			return s.p.ended()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, s.DSN) // it listens before it takes anything
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
}

// Stop ends it; its data stay.
func (s *PostgresServer) Stop(tb TB) {
	tb.Helper()
	if err := s.p.stop(syscall.SIGINT, postgresStop); err != nil {
		tb.Fatalf("%v", err)
	}
}

// postgresAs is what runs a program as a user who may own the database, whose
// folder this is.
func postgresAs(dir string) ([]string, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(postgresUser)
	if err != nil {
		return nil, fmt.Errorf("%w\nhint: run 'make deps'", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err == nil {
		err = os.Chown(dir, uid, -1)
	}
	return []string{"/usr/bin/setpriv", "--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups", "--"}, err
}

// postgresBinary is the path of one of the newest PostgreSQL's programs.
func postgresBinary(tb TB, name string) string {
	tb.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		tb.Fatalf("find %s: %d found, %v\nhint: run 'make deps'", name, len(found), err)
	}
	return slices.Max(found)
}

package testkit

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// versitygwVersion is the S3 server the tests run against; e2e/tools/versitygw
// pins it.
const versitygwVersion = "1.8.0"

const (
	s3Ready = 60 * time.Second
	s3Stop  = 5 * time.Second
)

// S3Server is a running S3 server with one bucket.
type S3Server struct {
	Endpoint       string // host:port, without TLS
	Bucket         string
	Access, Secret string // no other server's, and in none of its arguments
	Folder         string // of the bucket, one file for each object
	argv           []string
	log            *os.File
	p              *process
}

// S3 starts an S3 server that ends with tb.
func S3(tb TB) *S3Server {
	tb.Helper()
	path, err := toolPath("versitygw", versitygwVersion, "versitygw")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		tb.Fatalf("find versitygw %s: %v\nhint: run 'make tools'", versitygwVersion, err)
	}
	dir := tb.TempDir()
	s := &S3Server{
		Endpoint: address(loopback, FreePort(tb, loopback)), Bucket: "copies", Access: rand.Text(), Secret: rand.Text(),
		Folder: filepath.Join(dir, "data", "copies"),
	}
	users, meta := filepath.Join(dir, "users"), filepath.Join(dir, "meta")
	for _, folder := range []string{s.Folder, users, meta} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			tb.Fatalf("start S3: %v", err)
		}
	}
	if err := s.admit(users); err != nil {
		tb.Fatalf("start S3: %v", err)
	}
	s.argv = []string{
		path, "--access", "root", "--secret", "nobody-uses-it", "--port", s.Endpoint, "--iam-dir", users,
		"posix", "--sidecar", meta, filepath.Dir(s.Folder),
	}
	if s.log, err = os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		tb.Fatalf("start S3: %v", err)
	}
	s.Start(tb)
	tb.Cleanup(func() {
		if failed(tb) {
			tb.Logf("log of versitygw:\n%s", tail(s.log))
		}
		if err := errors.Join(s.p.stop(syscall.SIGTERM, s3Stop), s.log.Close()); err != nil {
			tb.Logf("%v", err)
		}
	})
	return s
}

// admit writes the server's list of users: one who may do everything.
func (s *S3Server) admit(folder string) error {
	type user struct {
		Access string `json:"access"`
		Secret string `json:"secret"`
		Role   string `json:"role"`
	}
	text, err := json.Marshal(map[string]map[string]user{"accessAccounts": {s.Access: {s.Access, s.Secret, "admin"}}})
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "users.json"), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write users: %w", err)
	}
	return nil
}

// Start starts it again after Stop.
func (s *S3Server) Start(tb TB) {
	tb.Helper()
	var err error
	if s.p, err = startProcess("versitygw", s.argv, s.log, syscall.SIGKILL); err != nil {
		tb.Fatalf("%v", err)
	}
	Eventually(tb, s3Ready, "the S3 server to listen", func() error {
		if !s.p.running() {
			return s.p.ended()
		}
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", s.Endpoint)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Stop ends it at once, whoever is connected; its objects stay.
func (s *S3Server) Stop(tb TB) {
	tb.Helper()
	if err := s.p.kill(); err != nil {
		tb.Fatalf("%v", err)
	}
}

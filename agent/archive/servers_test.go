package archive_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func postgres(t *testing.T, dsn, fleetName string) archive.Archive {
	t.Helper()
	a, err := archive.Postgres(fleet.NewSecret([]byte(dsn)), fleetName)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	s := testkit.Postgres(t)
	behave(t, postgres(t, s.DSN, "edge"))
	behave(t, postgres(t, s.DSN, "other")) // which sees nothing of the first
	if err := postgres(t, s.DSN, "other").Delete(t.Context(), "manifest"); err != nil {
		t.Fatal(err)
	}
	s.Stop(t)
	a := postgres(t, s.DSN, "edge")
	if _, err := a.Get(t.Context(), "manifest"); err == nil || errors.Is(err, archive.ErrMissing) {
		t.Errorf("Get() without a server = %v, want an error other than %v", err, archive.ErrMissing)
	}
	s.Start(t)
	testkit.Eventually(t, 30e9, "the objects again", func() error {
		_, err := a.Get(t.Context(), "manifest")
		return err
	})
	wrong := postgres(t, strings.Replace(s.DSN, s.Password, "s3cr3t", 1), "edge")
	if err := wrong.Put(t.Context(), "x", nil); err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("Put() with a wrong password = %v, want an error without it", err)
	}
}

func TestPostgresKeepsTheConnectionStringToItself(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"host=a port=s3cr3t", "postgres://u:s3cr3t@[::1", "password='s3cr3t"} {
		if a, err := archive.Postgres(fleet.NewSecret([]byte(dsn)), "edge"); err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("Postgres(%q) = %v, %v, want an error without it", dsn, a, err)
		}
	}
}

func s3(t *testing.T, s *testkit.S3Server, bucket, secret string) archive.Archive {
	t.Helper()
	a, err := archive.S3(archive.S3Config{
		Endpoint: s.Endpoint, Bucket: bucket, Prefix: "tlsfleet/edge", Region: "us-east-1", Insecure: true,
		Access: fleet.NewSecret([]byte(s.Access)), Secret: fleet.NewSecret([]byte(secret)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestS3(t *testing.T) {
	t.Parallel()
	s := testkit.S3(t)
	behave(t, s3(t, s, s.Bucket, s.Secret))
	if _, err := os.Stat(filepath.Join(s.Folder, "tlsfleet", "edge", "manifest")); err != nil {
		t.Errorf("the manifest is not below the prefix: %v", err)
	}
	for name, a := range map[string]archive.Archive{
		"another bucket": s3(t, s, "not-there", s.Secret), "a wrong secret": s3(t, s, s.Bucket, "wrong-secret"),
	} {
		if _, err := a.Get(t.Context(), "manifest"); err == nil || errors.Is(err, archive.ErrMissing) {
			t.Errorf("%s: Get() = %v, want an error other than %v", name, err, archive.ErrMissing)
		}
		if err := a.Put(t.Context(), "manifest", []byte("x")); err == nil || strings.Contains(err.Error(), "wrong-secret") {
			t.Errorf("%s: Put() = %v, want an error without the secret", name, err)
		}
	}
}

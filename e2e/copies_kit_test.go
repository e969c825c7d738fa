package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// copyPlaces are servers that keep copies: the archives bucket and database.
type copyPlaces struct {
	bucket   *testkit.S3Server
	database *testkit.PostgresServer
	settings Settings
}

func newCopyPlaces(t *testing.T) copyPlaces {
	t.Helper()
	dir := t.TempDir()
	secret := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := copyPlaces{bucket: testkit.S3(t), database: testkit.Postgres(t)}
	c.settings = Settings{
		`archive "bucket".endpoint`:        c.bucket.Endpoint,
		`archive "bucket".bucket`:          c.bucket.Bucket,
		`archive "bucket".region`:          "us-east-1",
		`archive "bucket".insecure`:        true,
		`archive "bucket".access_key_file`: secret("access", c.bucket.Access),
		`archive "bucket".secret_key_file`: secret("secret", c.bucket.Secret),
		`archive "database".dsn_file`:      secret("dsn", c.database.DSN),
	}
	return c
}

// open is both archives, as a fleet's leader uses them.
func (c copyPlaces) open(t *testing.T, fleetName string) map[string]archive.Archive {
	t.Helper()
	database, err := archive.Postgres(fleet.NewSecret([]byte(c.database.DSN)), fleetName)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(database.Close)
	bucket, err := archive.S3(archive.S3Config{
		Endpoint: c.bucket.Endpoint, Bucket: c.bucket.Bucket, Prefix: fleetName, Region: "us-east-1", Insecure: true,
		Access: fleet.NewSecret([]byte(c.bucket.Access)), Secret: fleet.NewSecret([]byte(c.bucket.Secret)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]archive.Archive{"bucket": bucket, "database": database}
}

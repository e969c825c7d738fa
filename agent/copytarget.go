package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// ErrNoArchive means that the configuration has no archive of this name.
var ErrNoArchive = errors.New("no such archive in the configuration")

// openArchive opens an archive of the configuration. It does not talk to it yet.
func openArchive(cfg config.Config, a config.Archive) (archive.Archive, error) {
	target, err := placeOf(cfg, a)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.Name, err)
	}
	return target, nil
}

func placeOf(cfg config.Config, a config.Archive) (archive.Archive, error) {
	switch {
	case a.Directory != "":
		return archive.Directory(a.Directory), nil
	case a.DSNFile != "":
		dsn, err := secretIn(a.DSNFile)
		if err != nil {
			return nil, err
		}
		return archive.Postgres(dsn, cfg.Fleet)
	}
	access, err := secretIn(a.AccessKeyFile)
	if err != nil {
		return nil, err
	}
	secret, err := secretIn(a.SecretKeyFile)
	if err != nil {
		return nil, err
	}
	return archive.S3(archive.S3Config{
		Endpoint: a.Endpoint, Bucket: a.Bucket, Prefix: cmp.Or(a.Prefix, cfg.Fleet), Region: a.Region,
		Access: access, Secret: secret, CAFile: a.CAFile, Insecure: a.Insecure,
	})
}

// secretIn reads a secret from a file that only its owner may read.
func secretIn(file string) (fleet.Secret, error) {
	info, err := os.Stat(file)
	if err != nil {
		return fleet.Secret{}, fmt.Errorf("read secret: %w", err)
	}
	if info.Mode()&fs.ModePerm&0o077 != 0 {
		return fleet.Secret{}, fmt.Errorf("read secret: %s may be read by others than its owner: chmod 600 it", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fleet.Secret{}, fmt.Errorf("read secret: %w", err)
	}
	defer clear(text)
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return fleet.Secret{}, fmt.Errorf("read secret: %s is empty", file)
	}
	return fleet.NewSecret(bytes.Clone(text)), nil
}

// objects is where a copy is read.
type objects interface {
	Get(ctx context.Context, name string) ([]byte, error)
}

package archive

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// S3Config says which bucket is meant.
type S3Config struct {
	Endpoint string // host or host:port
	Bucket   string // has to be there
	Prefix   string // of the names in the bucket
	Region   string // empty: the server is asked
	Access   fleet.Secret
	Secret   fleet.Secret
	CAFile   string // roots of the endpoint's HTTPS; empty: the host's
	Insecure bool   // HTTP
}

type s3 struct {
	client *minio.Client
	bucket string
	prefix string
}

// S3 is the archive in a bucket. It does not talk to it yet.
func S3(c S3Config) (Archive, error) {
	transport, err := minio.DefaultTransport(!c.Insecure)
	if err != nil {
		return nil, fmt.Errorf("open S3: %w", err)
	}
	if c.CAFile != "" {
		if err := trust(transport, c.CAFile); err != nil {
			return nil, fmt.Errorf("open S3: %w", err)
		}
	}
	client, err := minio.New(c.Endpoint, &minio.Options{
		Creds:  credentials.NewStaticV4(string(c.Access.Reveal()), string(c.Secret.Reveal()), ""),
		Secure: !c.Insecure, Region: c.Region, Transport: transport, MaxRetries: 1, // who asks tries again
		TrailingHeaders: false,
	})
	if err != nil {
		return nil, fmt.Errorf("open S3: %w", err)
	}
	return &s3{client, c.Bucket, c.Prefix + "/"}, nil
}

func trust(t *http.Transport, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("no certificate in %s", file)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return nil
}

func (s *s3) Put(ctx context.Context, name string, data []byte) error {
	if err := CheckName(name); err != nil {
		return err
	}
	_, err := s.client.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(data), int64(len(data)),
		minio.PutObjectOptions{ContentType: "application/octet-stream", DisableMultipart: true})
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

func (s *s3) Get(ctx context.Context, name string) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	object, err := s.client.GetObject(ctx, s.bucket, s.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	data, err := readObject(name, object)
	if err = errors.Join(err, object.Close()); err != nil {
		if missing(err) {
			return nil, fmt.Errorf("get %s: %w", name, ErrMissing)
		}
		return nil, err
	}
	return data, nil
}

// missing reports whether the server says that there is no such object; a bucket
// that is not there is another thing.
func missing(err error) bool {
	var answer minio.ErrorResponse
	return errors.As(err, &answer) && answer.Code == minio.NoSuchKey
}

func (s *s3) List(ctx context.Context, prefix string, each func(Object)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop() // ends the listing when it is left early
	for info := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
		if info.Err != nil {
			return fmt.Errorf("list archive: %w", info.Err)
		}
		if name := strings.TrimPrefix(info.Key, s.prefix); CheckName(name) == nil {
			each(Object{name, info.LastModified})
		}
	}
	return nil
}

func (s *s3) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := s.client.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{}); err != nil && !missing(err) {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

func (s *s3) Close() {}

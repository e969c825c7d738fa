package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// consulVersion is the Consul server the tests run against; e2e/tools/consul
// pins it.
const consulVersion = "1.20.6"

// pebbleVersion is the CA the tests run against; e2e/tools/pebble pins it.
const pebbleVersion = "2.10.1"

// ConsulBinary is the path of a Consul server binary: $TLSFLEET_CONSUL, else
// what `make tools` built into the user's cache folder. It ends the test if
// there is none.
func ConsulBinary(tb TB) string {
	tb.Helper()
	path, err := consulBinary()
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return path
}

func consulBinary() (string, error) {
	if path := os.Getenv("TLSFLEET_CONSUL"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("find Consul by TLSFLEET_CONSUL: %w", err)
		}
		return path, nil
	}
	path, err := toolPath("consul", consulVersion, "consul")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find Consul %s: %w\nhint: run 'make tools', or set TLSFLEET_CONSUL", consulVersion, err)
	}
	return path, nil
}

// toolPath is where the Makefile puts a binary of a tool module.
func toolPath(tool, version, binary string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", tool, err)
	}
	return filepath.Join(cache, "tlsfleet", "tools", tool+"-"+version, binary), nil
}

// NginxBinary is the path of nginx: $TLSFLEET_NGINX, else nginx in PATH, else
// /usr/sbin/nginx, which is not in every user's PATH. It ends the test if
// there is none.
func NginxBinary(tb TB) string {
	tb.Helper()
	path, err := nginxBinary()
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return path
}

func nginxBinary() (string, error) {
	if path := os.Getenv("TLSFLEET_NGINX"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("find nginx by TLSFLEET_NGINX: %w", err)
		}
		return path, nil
	}
	path, err := exec.LookPath("nginx")
	if err == nil {
		return path, nil
	}
	const debian = "/usr/sbin/nginx"
	if _, statErr := os.Stat(debian); statErr != nil {
		return "", fmt.Errorf("find nginx: %w\nhint: run 'make deps', or set TLSFLEET_NGINX", errors.Join(err, statErr))
	}
	return debian, nil
}

// nfpmVersion is the packager; e2e/tools/nfpm pins it.
const nfpmVersion = "2.45.2"

// NfpmBinary is the path of nfpm, which `make tools` built into the user's cache
// folder. It ends the test if there is none.
func NfpmBinary(tb TB) string {
	tb.Helper()
	path, err := toolPath("nfpm", nfpmVersion, "nfpm")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		tb.Fatalf("find nfpm %s: %v\nhint: run 'make tools'", nfpmVersion, err)
	}
	return path
}

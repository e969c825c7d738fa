// Package testkit starts the real parts that tests, the demo and the
// benchmarks run against: Consul, nginx, certificates, folders on tmpfs and a
// proxy that breaks HTTP. Everything is on loopback, on free ports, in folders
// of its own, and gone when its user ends, also when that one is killed. It
// knows nothing of tlsfleet but the shape of a fleet name; nothing but tests
// and the e2e module imports it.
package testkit

// TB is what the kit needs of its user: *testing.T, *testing.B and *testing.F
// have it, and a program can bring its own. Fatalf must not return. If it also
// has Failed() bool, logs of failed users are shown through Logf.
type TB interface {
	Helper()
	Name() string
	TempDir() string
	Cleanup(f func())
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// failed reports whether tb says that it failed; false if it cannot say.
func failed(tb TB) bool {
	f, ok := tb.(interface{ Failed() bool })
	return ok && f.Failed()
}

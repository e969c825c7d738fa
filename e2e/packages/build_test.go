package packages

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// top is the root of the repository.
const top = "../.."

// epoch is the moment the packages are made at (SOURCE_DATE_EPOCH).
const epoch = "1767225600"

// build makes one package of a version and returns its path.
func build(t *testing.T, packager, arch, version string) string {
	t.Helper()
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "packaging/build", packager, arch)
	cmd.Dir = top
	cmd.Env = append(os.Environ(), "NFPM="+testkit.NfpmBinary(t), "OUT="+out, "VERSION="+version, "SOURCE_DATE_EPOCH="+epoch, "TMPDIR="+t.TempDir())
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s for %s: %v\n%s", packager, arch, err, text)
	}
	made, err := filepath.Glob(filepath.Join(out, "tlsfleet*."+packager))
	if err != nil || len(made) != 1 {
		t.Fatalf("packages in %s = %v, %v, want one", out, made, err)
	}
	return made[0]
}

// output runs a program and returns what it wrote.
func output(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", argv, err, out, stderr.Bytes())
	}
	return string(out)
}

// TestPackagesAreWholeAndReproducible makes each package twice and looks into it.
func TestPackagesAreWholeAndReproducible(t *testing.T) {
	t.Parallel()
	for packager, holds := range map[string]func(t *testing.T, path, arch string){"deb": debHolds, "rpm": rpmHolds} {
		for _, arch := range []string{"amd64", "arm64"} {
			t.Run(packager+" "+arch, func(t *testing.T) {
				t.Parallel()
				first, second := build(t, packager, arch, "v1.2.3"), build(t, packager, arch, "v1.2.3")
				if filepath.Base(first) != filepath.Base(second) {
					t.Errorf("names = %s and %s, want one", first, second)
				}
				if !bytes.Equal(read(t, first), read(t, second)) {
					t.Errorf("two builds of %s differ", filepath.Base(first))
				}
				holds(t, first, arch)
			})
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// behave tries what every kind of archive promises.
func behave(t *testing.T, a archive.Archive) {
	t.Helper()
	ctx := t.Context()
	if _, err := a.Get(ctx, "manifest"); !errors.Is(err, archive.ErrMissing) {
		t.Fatalf("Get() from an empty archive = %v, want %v", err, archive.ErrMissing)
	}
	large := bytes.Repeat([]byte{0, 0xff, 7}, 200_000)
	for _, o := range []struct {
		name string
		data []byte
	}{{"manifest", []byte("one")}, {"bundles/ab", large}, {"bundles/ac", []byte{}}, {"issuance/ab/x.1", []byte("i")}, {"manifest", []byte("two")}} {
		if err := a.Put(ctx, o.name, o.data); err != nil {
			t.Fatalf("Put(%s) = %v", o.name, err)
		}
		if got, err := a.Get(ctx, o.name); err != nil || !bytes.Equal(got, o.data) {
			t.Fatalf("Get(%s) = %d bytes, %v, want %d", o.name, len(got), err, len(o.data))
		}
	}
	list := func(prefix string) []string {
		t.Helper()
		var names []string
		err := a.List(ctx, prefix, func(o archive.Object) {
			if age := time.Since(o.Modified); age < -time.Minute || age > time.Minute {
				t.Errorf("List() says that %s was modified at %s", o.Name, o.Modified)
			}
			names = append(names, o.Name)
		})
		if err != nil {
			t.Fatalf("List(%q) = %v", prefix, err)
		}
		slices.Sort(names)
		return names
	}
	if got, want := list("bundles/"), []string{"bundles/ab", "bundles/ac"}; !slices.Equal(got, want) {
		t.Errorf("List(bundles/) = %q, want %q", got, want)
	}
	for range 2 {
		if err := a.Delete(ctx, "bundles/ab"); err != nil {
			t.Errorf("Delete() = %v", err)
		}
	}
	if got, want := list(""), []string{"bundles/ac", "issuance/ab/x.1", "manifest"}; !slices.Equal(got, want) {
		t.Errorf("List() = %q, want %q", got, want)
	}
	for _, name := range []string{"", "../x", "/x", "a//b", ".hidden", "a/./b", "a b", "a\x00", strings.Repeat("x", 301)} {
		if err := a.Put(ctx, name, nil); !errors.Is(err, archive.ErrName) {
			t.Errorf("Put(%q) = %v, want %v", name, err, archive.ErrName)
		}
	}
	for _, name := range []string{"../x", ".hidden"} {
		_, err := a.Get(ctx, name)
		if !errors.Is(err, archive.ErrName) || !errors.Is(a.Delete(ctx, name), archive.ErrName) {
			t.Errorf("Get(%q) = %v, or Delete() is another, want %v", name, err, archive.ErrName)
		}
	}
	if err := a.Put(ctx, "huge", make([]byte, archive.MaxObject+1)); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Get(ctx, "huge"); err == nil || errors.Is(err, archive.ErrMissing) {
		t.Errorf("Get() of more than MaxObject = %d bytes, %v, want an error other than %v", len(got), err, archive.ErrMissing)
	}
	ended, end := context.WithCancel(ctx)
	end()
	_, getErr := a.Get(ended, "manifest")
	for what, err := range map[string]error{
		"Put": a.Put(ended, "late", nil), "Get": getErr, "Delete": a.Delete(ended, "manifest"),
		"List": a.List(ended, "", func(archive.Object) {}),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s() with an ended context = %v, want %v", what, err, context.Canceled)
		}
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "archive")
	a := archive.Directory(dir)
	behave(t, a)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[entry.IsDir()]; err == nil && info.Mode().Perm() != want {
			t.Errorf("mode of %s = %o, want %o", path, info.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, name := range []string{".manifest123", "bundles/a b"} { // what a crash leaves, what somebody has put there
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.List(t.Context(), "", func(o archive.Object) {
		if o.Name != "huge" && o.Name != "manifest" && o.Name != "bundles/ac" && o.Name != "issuance/ab/x.1" {
			t.Errorf("List() has %q, which is no object", o.Name)
		}
	}); err != nil {
		t.Errorf("List() = %v", err)
	}
	if err := archive.Directory(filepath.Join(t.TempDir(), "not", "mounted")).Put(t.Context(), "x", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Put() into a folder without a parent = %v, want %v", err, fs.ErrNotExist)
	}
}

func TestDirectoryFollowsNoLinkOut(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "bundles")); err != nil {
		t.Fatal(err)
	}
	if err := archive.Directory(dir).Put(t.Context(), "bundles/x", []byte("x")); err == nil {
		t.Error("Put() through a link out of the archive = nil, want an error")
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside there is %v, %v, want nothing", left, err)
	}
}

func TestFileIsReadBackWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	w := archive.NewWriter(&file)
	for range 2 { // the second time is no second entry
		for _, name := range []string{"bundles/a", "manifest"} {
			if err := w.Put(t.Context(), name, []byte("the "+name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(file.Bytes(), []byte("the bundles/a")); n != 1 {
		t.Errorf("the file has an object %d times, want it once", n)
	}
	f, err := archive.ReadFile(bytes.NewReader(file.Bytes()))
	if err != nil || len(f) != 2 || string(f["manifest"]) != "the manifest" {
		t.Fatalf("ReadFile() = %q, %v, want both objects", f, err)
	}
	for n := range 1548 { // to the last byte of the last object
		f, err := archive.ReadFile(bytes.NewReader(file.Bytes()[:n]))
		if err == nil && f["manifest"] != nil {
			t.Fatalf("ReadFile() of the first %d of %d bytes = %q, want no manifest", n, file.Len(), f)
		}
	}
}

// TestFileTakesObjectsOnly has files that no Writer writes, and what a Writer refuses.
func TestFileTakesObjectsOnly(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]tar.Header{
		"name that leads out": {Typeflag: tar.TypeReg, Name: "../x"},
		"folder":              {Typeflag: tar.TypeDir, Name: "bundles"},
		"link":                {Typeflag: tar.TypeSymlink, Name: "manifest", Linkname: "/etc/passwd"},
		"too large":           {Typeflag: tar.TypeReg, Name: "manifest", Size: archive.MaxObject + 1},
	} {
		var file bytes.Buffer
		w := tar.NewWriter(&file)
		err := w.WriteHeader(&h)
		if err == nil {
			_, err = w.Write(make([]byte, h.Size))
		}
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		if f, err := archive.ReadFile(&file); err == nil {
			t.Errorf("%s: ReadFile() = %d objects, want an error", name, len(f))
		}
	}
	var empty bytes.Buffer
	if err := archive.NewWriter(&empty).Finish(); err != nil {
		t.Fatal(err)
	}
	if f, err := archive.ReadFile(&empty); err == nil {
		t.Errorf("ReadFile() of a file without objects = %v, want an error", f)
	}
	w := archive.NewWriter(io.Discard)
	if err := w.Put(t.Context(), "../x", nil); !errors.Is(err, archive.ErrName) {
		t.Errorf("Put(../x) = %v, want %v", err, archive.ErrName)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := w.Put(ended, "manifest", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Put() with an ended context = %v, want %v", err, context.Canceled)
	}
	if _, err := (archive.File{}).Get(t.Context(), "manifest"); !errors.Is(err, archive.ErrMissing) {
		t.Errorf("Get() from an empty file = %v, want %v", err, archive.ErrMissing)
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	p := archive.Page{"ab12": archive.DigestOf([]byte("a")), "ab99": archive.DigestOf([]byte("b")), "ab00": archive.DigestOf([]byte("c"))}
	plain := p.Encode()
	if got, err := archive.DecodePage(plain); err != nil || !maps.Equal(got, p) {
		t.Errorf("DecodePage() = %v, %v, want %v", got, err, p)
	}
	for range 20 {
		if !bytes.Equal(p.Encode(), plain) {
			t.Fatal("Encode() of one page gives different bytes")
		}
	}
	if got, err := archive.DecodePage(nil); err != nil || len(got) > 0 {
		t.Errorf("DecodePage() of nothing = %v, %v, want an empty page", got, err)
	}
	digest := strings.Repeat("ab", 16)
	for name, line := range map[string]string{
		"no digest": "ab12\n", "short digest": "ab12 " + digest[2:] + "\n", "long digest": "ab12 " + digest + "ab\n",
		"no hex": "ab12 " + strings.Repeat("xy", 16) + "\n", "name that leads out": "../x " + digest + "\n", "empty line": "\n",
	} {
		if _, err := archive.DecodePage(append(plain, line...)); !errors.Is(err, archive.ErrManifest) {
			t.Errorf("DecodePage() with %s = %v, want %v", name, err, archive.ErrManifest)
		}
	}
}

func TestManifest(t *testing.T) {
	t.Parallel()
	m := archive.Manifest{
		Fleet: "edge", At: time.Unix(1700000000, 0).UTC(), Epoch: 9, Names: 3, Items: 2,
		Records: map[string]archive.Digest{"meta": archive.DigestOf([]byte("m"))}, Lost: []fleet.Hash{{1}}, Key: "ab12", Leaders: "cd34",
	}
	m.Shards[1023], m.Pages[255] = archive.DigestOf([]byte("s")), archive.DigestOf([]byte("p"))
	plain, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := archive.Decode(plain)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("Decode() = %+v, %v, want %+v", got, err, m)
	}
	if len(plain) > 48<<10 {
		t.Errorf("a manifest has %d bytes, want at most 48 KiB whatever the number of names", len(plain))
	}
	for name, bad := range map[string][]byte{
		"cut": plain[:len(plain)-1], "empty": {}, "newer": bytes.Replace(plain, []byte(`"schema":1`), []byte(`"schema":2`), 1),
		"short digest":  bytes.Replace(plain, []byte(`"records":{"meta":"`), []byte(`"records":{"a":"ab","meta":"`), 1),
		"long digest":   bytes.Replace(plain, []byte(`"records":{"meta":"`), []byte(`"records":{"meta":"ab`), 1),
		"short pages":   bytes.Replace(plain, []byte(`"pages":"AAAA`), []byte(`"pages":"`), 1),
		"short digests": bytes.Replace(plain, []byte(`"shards":"AAAA`), []byte(`"shards":"`), 1),
	} {
		if _, err := archive.Decode(bad); !errors.Is(err, archive.ErrManifest) {
			t.Errorf("Decode(%s) = %v, want %v", name, err, archive.ErrManifest)
		}
	}
	labelled := archive.Label("edge", []byte("sealed\nbytes"))
	if got, err := archive.Unlabel("edge", labelled); err != nil || string(got) != "sealed\nbytes" {
		t.Errorf("Unlabel() = %q, %v", got, err)
	}
	if _, err := archive.Unlabel("other", labelled); !errors.Is(err, archive.ErrForeign) {
		t.Errorf("Unlabel() for another fleet = %v, want %v", err, archive.ErrForeign)
	}
	if _, err := archive.Unlabel("edge", archive.Label("../edge", nil)); !errors.Is(err, archive.ErrManifest) {
		t.Errorf("Unlabel() of a fleet that cannot be = %v, want %v", err, archive.ErrManifest)
	}
	if _, err := archive.Unlabel("edge", []byte("junk")); !errors.Is(err, archive.ErrManifest) {
		t.Errorf("Unlabel(junk) = %v, want %v", err, archive.ErrManifest)
	}
}

func FuzzDecode(f *testing.F) {
	plain, err := archive.Manifest{Fleet: "edge"}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := archive.Decode(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Decode(again); err != nil {
			t.Fatalf("Decode() of what was read = %v", err)
		}
	})
}

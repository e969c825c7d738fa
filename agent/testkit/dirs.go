package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// TmpfsDir is a folder of mode 0700 on tmpfs, removed with tb.
func TmpfsDir(tb TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tlsfleet-")
	if err != nil {
		tb.Fatalf("make folder on tmpfs: %v", err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Logf("remove %s: %v", dir, err)
		}
	})
	return dir
}

// SmallTmpfs is the root of a file system of its own, tmpfs with room for size
// bytes in whole pages, mode 0700, unmounted with tb. Mounting needs
// CAP_SYS_ADMIN.
func SmallTmpfs(tb TB, size int) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "tmpfs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatalf("mount small tmpfs: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		tb.Fatalf("mount small tmpfs on %s (only root can): %v", dir, err)
	}
	tb.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			tb.Logf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/doctor"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// maxKeyFiles is how many private keys of the store are looked at.
const maxKeyFiles = 4096

// files looks at what is on this host's disks and in its memory.
func (x *examiner) files() []doctor.Finding {
	return []doctor.Finding{
		doctor.Folders(x.folders(), os.Geteuid()), x.privateKeys(),
		doctor.Tmpfs(x.cfg.RunDir, x.node.OnTmpfs(), x.cfg.AllowPersistentKeys), x.swap().Judge(), findUnit(x.root).Judge(),
	}
}

func (x *examiner) folders() []doctor.Folder {
	var list []doctor.Folder
	for _, f := range x.node.Folders() {
		d := doctor.Folder{Path: f.Path, Most: f.Perm}
		info, err := os.Stat(f.Path)
		if err == nil {
			d.Mode, d.Owner = info.Mode(), renderer.OwnerOf(info)
		}
		d.Err = err
		list = append(list, d)
	}
	return list
}

// privateKeys looks at the keys of certificates, the ticket keys, those of the
// operator that nginx is configured with, and the token.
func (x *examiner) privateKeys() doctor.Finding {
	files := slices.Concat(x.survey.KeyFiles, []string{x.cfg.KeyringFile})
	if x.cfg.Consul.TokenFile != "" {
		files = append(files, x.cfg.Consul.TokenFile)
	}
	var exposed, hidden []string
	looked := 0
	for _, pattern := range x.node.KeyPatterns() {
		found, err := filepath.Glob(pattern) // says nothing of what may not be read
		if err == nil {
			files = append(files, found[:min(len(found), maxKeyFiles)]...)
		}
	}
	for _, f := range x.node.Folders() {
		if _, err := os.ReadDir(f.Path); errors.Is(err, fs.ErrPermission) {
			hidden = append(hidden, f.Path)
		}
	}
	for _, f := range files {
		info, err := os.Stat(f)
		switch {
		case errors.Is(err, fs.ErrPermission):
			hidden = append(hidden, f)
		case err == nil && info.Mode().IsRegular():
			looked++
			if info.Mode().Perm()&0o007 != 0 {
				exposed = append(exposed, f)
			}
		}
	}
	return doctor.PrivateKeys(looked, exposed, hidden)
}

func (x *examiner) swap() doctor.Swap {
	s := doctor.Swap{RunDir: x.cfg.RunDir}
	swaps, err := os.ReadFile("/proc/swaps")
	if err == nil {
		s.Areas = doctor.ParseSwaps(string(swaps), safeSwap)
	}
	mounts, mountErr := os.ReadFile("/proc/self/mountinfo")
	dir, linkErr := filepath.EvalSymlinks(x.cfg.RunDir)
	if mountErr == nil && linkErr == nil {
		s.NoSwap = doctor.HasNoSwap(string(mounts), dir)
	}
	s.ReadErr = err
	return s
}

// safeSwap reports whether what is swapped to a device cannot be read from a
// disk: compressed memory (zram), or a device that dm-crypt encrypts.
func safeSwap(path string) bool {
	name := filepath.Base(path)
	if device, err := filepath.EvalSymlinks(path); err == nil {
		name = filepath.Base(device)
	}
	if strings.HasPrefix(name, "zram") {
		return true
	}
	id, err := os.ReadFile(filepath.Join("/sys/block", name, "dm/uuid")) //nolint:gosec // a device of the kernel
	return err == nil && strings.HasPrefix(string(id), "CRYPT-")
}

// unitFolders are where systemd reads units, the first ones first (systemd.unit(5)).
var unitFolders = []string{"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// findUnit looks for the unit that runs `tlsfleet restore`.
func findUnit(root string) doctor.Unit {
	u := doctor.Unit{}
	if _, err := os.Stat(filepath.Join(root, "run/systemd/system")); err != nil {
		return u
	}
	u.Systemd = true
	for _, dir := range unitFolders {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.service"))
		if err != nil {
			u.Err = fmt.Errorf("look for units: %w", err)
			return u
		}
		for _, f := range files {
			text, err := os.ReadFile(f) //nolint:gosec // a unit of systemd
			if err != nil || !runsRestore(string(text)) {
				continue
			}
			u.Name, u.Before = filepath.Base(f), beforeNginx(string(text))
			links, err := filepath.Glob(filepath.Join(root, "etc/systemd/system/*.*", u.Name)) // x.wants, x.requires
			u.Enabled = err == nil && len(links) > 0
			return u
		}
	}
	return u
}

func runsRestore(unit string) bool {
	for line := range strings.Lines(unit) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="); ok {
			words := strings.Fields(command)
			return len(words) > 1 && filepath.Base(words[0]) == "tlsfleet" && words[1] == "restore"
		}
	}
	return false
}

func beforeNginx(unit string) bool {
	for line := range strings.Lines(unit) {
		if names, ok := strings.CutPrefix(strings.TrimSpace(line), "Before="); ok {
			for _, n := range strings.Fields(names) {
				if n == "nginx.service" {
					return true
				}
			}
		}
	}
	return false
}

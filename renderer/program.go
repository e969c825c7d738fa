package renderer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// kernelName is how much of a program's name the kernel keeps (TASK_COMM_LEN).
const kernelName = 15

// program is the file name of what a process runs. A process with more
// capabilities than ours does not show its program (ptrace(2)), as nginx's
// master to an agent in a sandbox. Then the kernel's short name for it counts,
// if the process is our own user in every respect, so that nobody else can
// have made that name up.
func (r *Renderer) program(pid int) (base string, ours bool, err error) {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err == nil {
		// An upgraded binary leaves the running one deleted.
		base = filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
		return base, r.isBinary(base), nil
	}
	if !errors.Is(err, fs.ErrPermission) {
		return "", false, err
	}
	name, uids, nameErr := kernelView(pid)
	if nameErr != nil {
		return "", false, nameErr
	}
	own := strconv.Itoa(os.Geteuid())
	if slices.ContainsFunc(uids, func(uid string) bool { return uid != own }) {
		return name, false, err
	}
	return name, r.isShortBinary(name), nil
}

// kernelView is the name of a process and its four user ids.
func kernelView(pid int) (name string, uids []string, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", nil, err
	}
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(string(line), ":")
		switch key {
		case "Name":
			name = strings.TrimSpace(value)
		case "Uid":
			uids = strings.Fields(value)
		}
	}
	if name == "" || len(uids) != 4 {
		return "", nil, fmt.Errorf("read /proc/%d/status: no name or user", pid)
	}
	return name, uids, nil
}

func (r *Renderer) isBinary(base string) bool {
	return slices.Contains(r.binaries(), base)
}

func (r *Renderer) isShortBinary(name string) bool {
	return slices.ContainsFunc(r.binaries(), func(base string) bool { return base[:min(len(base), kernelName)] == name })
}

// binaries are the names of our nginx: its own, and that of the file it leads to.
func (r *Renderer) binaries() []string {
	all := []string{filepath.Base(r.cfg.Binary)}
	if target, err := filepath.EvalSymlinks(r.cfg.Binary); err == nil {
		all = append(all, filepath.Base(target))
	}
	return all
}

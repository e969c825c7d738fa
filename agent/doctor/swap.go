package doctor

import (
	"strings"
)

// Swap is where memory can be written to.
type Swap struct {
	Areas   []SwapArea
	NoSwap  bool // the mount of run_dir has the option noswap
	RunDir  string
	ReadErr error
}

// SwapArea is one line of /proc/swaps (proc(5)).
type SwapArea struct {
	Path string
	Safe bool // encrypted, or compressed memory
}

// ParseSwaps reads /proc/swaps. safe says of a device whether what is written
// there is encrypted or stays in memory.
func ParseSwaps(text string, safe func(path string) bool) []SwapArea {
	var areas []SwapArea
	for i, line := range strings.Split(text, "\n") {
		if fields := strings.Fields(line); i > 0 && len(fields) > 0 {
			areas = append(areas, SwapArea{fields[0], safe(fields[0])})
		}
	}
	return areas
}

// HasNoSwap reports whether the mount that a path is on has the option noswap;
// text is /proc/self/mountinfo (proc(5)), path absolute and without links.
func HasNoSwap(text, path string) bool {
	longest, found := -1, false
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, " - ")
		fields, options := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 6 || len(options) < 3 {
			continue
		}
		point := strings.TrimSuffix(fields[4], "/")
		if path != point && !strings.HasPrefix(path, point+"/") || len(point) < longest {
			continue
		}
		longest = len(point)
		found = false
		for _, o := range strings.Split(options[2], ",") {
			found = found || o == "noswap"
		}
	}
	return found
}

// Judge gives the finding "swap".
func (s Swap) Judge() Finding {
	const id = "swap"
	if s.ReadErr != nil {
		return skipped(id, "", "%v", s.ReadErr)
	}
	var open []string
	for _, a := range s.Areas {
		if !a.Safe {
			open = append(open, a.Path)
		}
	}
	const mend = "encrypt it, or swapoff -a, or mount run_dir as tmpfs with the option noswap (Linux 6.4)"
	switch {
	case len(open) == 0 && len(s.Areas) == 0:
		return ok(id, "there is no swap")
	case len(open) == 0:
		return ok(id, "swap is encrypted or in memory")
	case s.NoSwap:
		return warning(id, "encrypt it, or swapoff -a", "ticket keys in %s stay in memory, but nginx's own memory can be written to %s", s.RunDir, few(open))
	}
	return warning(id, mend, "keys can be written to %s and stay there", few(open))
}

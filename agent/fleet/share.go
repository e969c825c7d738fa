package fleet

import (
	"fmt"
	"strconv"
	"strings"
)

// Share is a part of a number of nodes: a percentage of them, or so many. The
// zero value is none.
type Share struct {
	Percent int // 1 to 100; 0: Nodes counts
	Nodes   int // at least 1
}

// mostShared is the largest number of nodes that a Share can name.
const mostShared = 100_000

// ParseShare reads "25%" or "3".
func ParseShare(s string) (Share, error) {
	digits, percent := strings.CutSuffix(s, "%")
	most := mostShared
	if percent {
		most = 100
	}
	n, err := strconv.Atoi(digits)
	if err != nil || strconv.Itoa(n) != digits || n < 1 || n > most {
		return Share{}, fmt.Errorf("%.40q is neither a percentage from 1%% to 100%% nor a number of nodes", s)
	}
	if percent {
		return Share{Percent: n}, nil
	}
	return Share{Nodes: n}, nil
}

// Of is the share of this many nodes, rounded down but at least 1.
func (s Share) Of(nodes int) int {
	if s.Percent == 0 {
		return max(s.Nodes, 1)
	}
	return max(nodes*s.Percent/100, 1)
}

// Whole reports whether the share is all nodes.
func (s Share) Whole() bool { return s.Percent == 100 }

// String is what ParseShare reads.
func (s Share) String() string {
	if s.Percent > 0 {
		return strconv.Itoa(s.Percent) + "%"
	}
	return strconv.Itoa(s.Nodes)
}

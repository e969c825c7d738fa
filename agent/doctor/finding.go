package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Level is how a check came out.
type Level string

// The levels, the worst first.
const (
	Failure Level = "failure" // a promise is broken, or will be
	Warning Level = "warning"
	Skipped Level = "skipped" // it could not be looked at: nothing is said
	OK      Level = "ok"
)

// Finding is the outcome of one check.
type Finding struct {
	ID    string `json:"id"` // stable, kebab-case
	Level Level  `json:"level"`
	Text  string `json:"text"`
	Mend  string `json:"mend,omitempty"` // what to do, one line
}

// Count is how many findings are of a level.
func Count(list []Finding, l Level) int {
	n := 0
	for _, f := range list {
		if f.Level == l {
			n++
		}
	}
	return n
}

func ok(id, format string, args ...any) Finding {
	return Finding{ID: id, Level: OK, Text: fmt.Sprintf(format, args...)}
}

func warning(id, mend, format string, args ...any) Finding {
	return Finding{id, Warning, fmt.Sprintf(format, args...), mend}
}

func failure(id, mend, format string, args ...any) Finding {
	return Finding{id, Failure, fmt.Sprintf(format, args...), mend}
}

// skipped says why a check says nothing.
func skipped(id, mend, format string, args ...any) Finding {
	return Finding{id, Skipped, fmt.Sprintf(format, args...), mend}
}

// unseen is skipped for a cause; root is told of only where that helps.
func unseen(id string, err error) Finding {
	if errors.Is(err, fs.ErrPermission) {
		return skipped(id, asRoot, "%v", err)
	}
	return skipped(id, "", "%v", err)
}

// few lists the first of many.
func few(list []string) string {
	const most = 4
	list = slices.Clone(list)
	if n := len(list); n > most {
		list = append(list[:most:most], fmt.Sprintf("and %d more", n-most))
	}
	return strings.Join(list, ", ")
}

// Unknown stands for all checks that need what could not be had.
func Unknown(what string) Finding {
	return skipped("other-checks", "", "all other checks need the %s", what)
}

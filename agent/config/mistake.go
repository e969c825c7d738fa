package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Error is one mistake in a configuration file.
type Error struct {
	File string
	Line int // from 1
	What string
	Hint string // what to do about it
}

// Error is "file:line: what is wrong; what to do".
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d: %s; %s", e.File, e.Line, e.What, e.Hint)
}

// mistake is what a check of one value finds; the line is added by the reader.
// It never quotes a secret.
type mistake struct{ what, hint string }

func (m *mistake) Error() string { return m.what + "; " + m.hint }

// mistakes collects the errors of one file.
type mistakes struct {
	file string
	list []*Error
}

func (ms *mistakes) add(line int, what, hint string) {
	ms.list = append(ms.list, &Error{File: ms.file, Line: max(line, 1), What: what, Hint: hint})
}

// err joins all errors in the order of their lines; nil if there is none.
func (ms *mistakes) err() error {
	slices.SortStableFunc(ms.list, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	all := make([]error, len(ms.list))
	for i, e := range ms.list {
		all[i] = e
	}
	return errors.Join(all...)
}

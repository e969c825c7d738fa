package site

import (
	"errors"
	"fmt"
)

// ErrSite is wrapped by every reason why a site cannot be used.
var ErrSite = errors.New("not a usable site")

// FieldError is one thing that is wrong with a site.
type FieldError struct {
	File         string // where it was read; empty: in no file
	Line, Column int    // from 1
	Site, Field  string // "tls.policy"; empty: the site as a whole
	What, Hint   string
}

// Error is "file:line:column: site a: field: what; hint" as far as it is known.
func (e *FieldError) Error() string {
	text := e.What
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Site != "" {
		text = "site " + e.Site + ": " + text
	}
	if e.File != "" {
		text = fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, text)
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Unwrap is ErrSite.
func (e *FieldError) Unwrap() error { return ErrSite }

// joined is all errors as one; nil without any.
func joined(list []*FieldError) error {
	all := make([]error, len(list))
	for i, e := range list {
		all[i] = e
	}
	return errors.Join(all...)
}

package site

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Difference is one field that two sites differ in.
type Difference struct {
	Field string `json:"field"` // "tls.policy"
	From  string `json:"from"`  // as JSON; empty: not set
	To    string `json:"to"`
}

// Diff is what makes after of before, by field.
func Diff(before, after Site) ([]Difference, error) {
	old, err := flat(before)
	if err != nil {
		return nil, err
	}
	now, err := flat(after)
	if err != nil {
		return nil, err
	}
	var list []Difference
	for field, v := range now {
		if old[field] != v {
			list = append(list, Difference{field, old[field], v})
		}
	}
	for field, v := range old {
		if _, ok := now[field]; !ok {
			list = append(list, Difference{Field: field, From: v})
		}
	}
	slices.SortFunc(list, func(a, b Difference) int { return strings.Compare(a.Field, b.Field) })
	return list, nil
}

// flat is the fields of a site as JSON, with dots between their names.
func flat(s Site) (map[string]string, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("compare site %s: %w", s.ID, err)
	}
	fields := map[string]string{}
	return fields, flatten("", b, fields)
}

func flatten(path string, b json.RawMessage, into map[string]string) error {
	if len(b) == 0 || b[0] != '{' {
		into[path] = string(b)
		return nil
	}
	var inner map[string]json.RawMessage
	if err := json.Unmarshal(b, &inner); err != nil {
		return err
	}
	for name, v := range inner {
		if err := flatten(strings.TrimPrefix(path+"."+name, "."), v, into); err != nil {
			return err
		}
	}
	return nil
}

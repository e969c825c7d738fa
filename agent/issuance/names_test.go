package issuance

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestNewChecksNames(t *testing.T) {
	many := func(n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprintf("n%d.a.test", i))
		}
		return names
	}
	tests := map[string]struct {
		names []string
		err   error
	}{
		"one":                    {[]string{"a.test"}, nil},
		"unsorted":               {[]string{"www.a.test", "a.test"}, nil},
		"wildcard and its base":  {[]string{"*.a.test", "a.test"}, nil},
		"a hundred":              {many(MaxNames), nil},
		"under a private suffix": {[]string{"me.github.io"}, nil},
		"none":                   {nil, ErrItem},
		"too many":               {many(MaxNames + 1), ErrItem},
		"twice":                  {[]string{"a.test", "a.test"}, ErrItem},
		"covered by a wildcard":  {[]string{"*.a.test", "x.a.test"}, ErrItem},
		"top-level domain":       {[]string{"*.com"}, fleet.ErrDomain},
		"public suffix":          {[]string{"co.uk"}, ErrItem},
		"wildcard of a suffix":   {[]string{"*.co.uk"}, ErrItem},
		"private suffix":         {[]string{"github.io"}, ErrItem},
		"underscore":             {[]string{"_a.example.com"}, ErrItem},
		"upper case":             {[]string{"A.test"}, fleet.ErrDomain},
		"path":                   {[]string{"../x"}, fleet.ErrDomain},
		"address":                {[]string{"192.0.2.1"}, fleet.ErrDomain},
		"long":                   {[]string{strings.Repeat("a.", 126) + "test"}, fleet.ErrDomain},
		"NUL":                    {[]string{"a\x00.test"}, fleet.ErrDomain},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := New(tt.names, "", "", t0); !errors.Is(err, tt.err) {
				t.Errorf("New(%.3q) = %v, want %v", tt.names, err, tt.err)
			}
		})
	}
}

func TestRegistered(t *testing.T) {
	for name, want := range map[string]string{
		"www.example.co.uk": "example.co.uk", "*.a.b.com": "b.com", "x.me.github.io": "me.github.io", "a.test": "a.test",
	} {
		if got := Registered(name); got != want {
			t.Errorf("Registered(%s) = %s, want %s", name, got, want)
		}
	}
}

func TestIDNamesTheSet(t *testing.T) {
	a, b := item(t, "b.test", "a.test"), item(t, "a.test", "b.test")
	if a.ID() != b.ID() || len(a.ID()) != 32 {
		t.Errorf("ID() = %s and %s, want the same 32 digits", a.ID(), b.ID())
	}
	if c := item(t, "a.test"); c.ID() == a.ID() {
		t.Error("ID() is the same for other names")
	}
}

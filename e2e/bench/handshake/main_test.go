package main

import (
	"os"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	if o, err := parse(nil); err != nil || len(o.modes) != 3 || len(o.sizes) != 2 || o.sizes[1] != 10_000 {
		t.Errorf("parse() = %+v, %v, want three modes with 1,000 and 10,000 names", o, err)
	}
	for _, args := range [][]string{{"-modes", "x"}, {"-n", "0"}, {"-n", "1,"}, {"-hot", "0"}, {"more"}, {"-x"}} {
		if o, err := parse(args); err == nil {
			t.Errorf("parse(%q) = %+v, want an error", args, o)
		}
	}
}

func TestReadsOfProc(t *testing.T) {
	t.Parallel()
	before, err := cpu(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after, err := cpu(os.Getpid()); err != nil || after < before {
		t.Errorf("cpu() = %s, %v, want at least %s as before", after, err, before)
	}
	if bytes, err := proportional(os.Getpid()); err != nil || bytes < 1<<20 {
		t.Errorf("proportional() = %d, %v, want at least 1 MiB", bytes, err)
	}
	if _, err := cpu(-1); err == nil {
		t.Error("cpu(no process) = nil, want an error")
	}
}

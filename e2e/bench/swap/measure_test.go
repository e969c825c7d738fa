package main

import (
	"strings"
	"testing"
	"time"
)

func TestPromises(t *testing.T) {
	t.Parallel()
	o := options{handshakes: 100, rate: 1000}
	tests := map[string]struct {
		c              counts
		swaps, reloads int
		want           string
	}{
		"kept":           {counts{done: 100}, 2000, 0, ""},
		"a failure":      {counts{done: 100, failed: 1}, 2000, 0, "1 of 100 handshakes failed"},
		"too few":        {counts{done: 99}, 2000, 0, "only 99 handshakes"},
		"a reload":       {counts{done: 100}, 2000, 1, "1 reloads"},
		"too few swaps":  {counts{done: 100}, 1799, 0, "only 1799 swaps"},
		"nearly as told": {counts{done: 100}, 1800, 0, ""},
	}
	for name, tt := range tests {
		err := promises(o, tt.c, tt.swaps, tt.reloads, 2*time.Second)
		if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: promises() = %v, want %q", name, err, tt.want)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	if o, err := parse(nil); err != nil || len(o.contestants) != 2 || o.handshakes < 50_000 || o.rate != 1000 {
		t.Errorf("parse() = %+v, %v, want both contestants, 50,000 handshakes and 1,000 swaps a second", o, err)
	}
	for _, args := range [][]string{{"-contestant", "x"}, {"-rate", "0"}, {"-names", "0"}, {"more"}, {"-x"}} {
		if o, err := parse(args); err == nil {
			t.Errorf("parse(%q) = %+v, want an error", args, o)
		}
	}
}

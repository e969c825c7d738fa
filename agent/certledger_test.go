package agent

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// bundleNo is a hash that stands for a bundle.
func bundleNo(n byte) fleet.Hash { return fleet.Hash{31: n} }

func ledgerIn(t *testing.T, dir string) *ledger {
	t.Helper()
	l, err := openLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLedgerAims(t *testing.T) {
	bad, last, other := bundleNo(1), bundleNo(2), bundleNo(3)
	for name, tt := range map[string]struct {
		back     fleet.Hash
		wanted   fleet.Entry
		want     fleet.Entry
		released bool
	}{
		"the one in quarantine":    {last, fleet.Entry{Name: "a.test", Bundle: bad}, fleet.Entry{Name: "a.test", Bundle: last}, false},
		"with nothing before it":   {fleet.Hash{}, fleet.Entry{Name: "a.test", Bundle: bad}, fleet.Entry{Name: "a.test", Removed: true}, false},
		"another one":              {last, fleet.Entry{Name: "a.test", Bundle: other}, fleet.Entry{Name: "a.test", Bundle: other}, true},
		"the one before, imported": {last, fleet.Entry{Name: "a.test", Bundle: last}, fleet.Entry{Name: "a.test", Bundle: last}, true},
		"removed":                  {last, fleet.Entry{Name: "a.test", Removed: true}, fleet.Entry{Name: "a.test", Removed: true}, true},
		"of another name":          {last, fleet.Entry{Name: "b.test", Bundle: bad}, fleet.Entry{Name: "b.test", Bundle: bad}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := ledgerIn(t, t.TempDir())
			l.condemn("a.test", quarantined{Bundle: bad, Back: tt.back, Why: "refused"})
			if err := l.save(); err != nil {
				t.Fatal(err)
			}
			if got := l.aim(tt.wanted); got != tt.want {
				t.Errorf("aim(%v) = %v, want %v", tt.wanted, got, tt.want)
			}
			if _, in := l.Quarantine["a.test"]; in == tt.released || l.dirty != tt.released {
				t.Errorf("after aim(%v): in quarantine %t, to be saved %t, want released %t", tt.wanted, in, l.dirty, tt.released)
			}
		})
	}
}

func TestLedgerIsKept(t *testing.T) {
	dir := t.TempDir()
	l := ledgerIn(t, dir)
	at := time.Now().UTC()
	trial := certTrial{Bundle: bundleNo(1), Back: bundleNo(2), At: at, Reload: true}
	l.try("a.test", trial, false)
	l.try("b.test", certTrial{Bundle: bundleNo(3), At: at}, false)
	condemned := quarantined{Bundle: bundleNo(3), At: at, Why: "not served", Alone: true}
	l.condemn("b.test", condemned)
	if err := l.save(); err != nil {
		t.Fatal(err)
	}
	again := ledgerIn(t, dir)
	if len(again.Trials) != 1 || again.Trials["a.test"] != trial {
		t.Errorf("trials read = %v, want that of a.test: a condemned name is on trial no more", again.Trials)
	}
	if len(again.Quarantine) != 1 || again.Quarantine["b.test"] != condemned {
		t.Errorf("quarantine read = %v, want b.test", again.Quarantine)
	}
	if got, want := again.barred(), map[string]fleet.Hash{"b.test": bundleNo(3)}; !maps.Equal(got, want) {
		t.Errorf("barred() = %v, want %v", got, want)
	}
	if got := again.problem(); got.Severity != fleet.Alarm || !strings.Contains(got.Message, "1 names: b.test is not served with") || !strings.Contains(got.Message, "nothing is served instead") {
		t.Errorf("problem() = %+v, want an alarm about b.test", got)
	}
	if got := again.spare(); !slices.Equal(got, []fleet.Hash{bundleNo(2)}) {
		t.Errorf("spare() = %v, want the bundle that a.test may go back to", got)
	}

	if err := os.WriteFile(filepath.Join(dir, "certificates.json"), []byte(`{"trials":{"a.test":{"bundle":1}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged, err := openLedger(dir)
	if err == nil || damaged == nil || len(damaged.Trials)+len(damaged.Quarantine) > 0 {
		t.Errorf("openLedger() of a damaged file = %+v, %v, want an empty one and an error", damaged, err)
	}
}

// TestLedgerIsBounded fills both lists: a trial too many is not made, and a
// quarantine too many ends the oldest.
func TestLedgerIsBounded(t *testing.T) {
	l := ledgerIn(t, t.TempDir())
	begin := time.Now()
	for i := range maxTrials + 1 {
		l.try(fmt.Sprint(i), certTrial{Bundle: bundleNo(1), At: begin}, false)
	}
	l.try("0", certTrial{Bundle: bundleNo(2), At: begin}, false)
	if _, more := l.Trials[fmt.Sprint(maxTrials)]; len(l.Trials) != maxTrials || more || l.Trials["0"].Bundle != bundleNo(2) {
		t.Errorf("%d trials, the last taken %t, want %d and not, and renewed ones taken", len(l.Trials), more, maxTrials)
	}
	for i := range maxQuarantined + 1 {
		l.condemn(fmt.Sprint(i), quarantined{Bundle: bundleNo(1), At: begin.Add(time.Duration(i) * time.Second)})
	}
	if _, in := l.Quarantine["0"]; len(l.Quarantine) != maxQuarantined || in {
		t.Errorf("%d in quarantine, the oldest among them %t, want %d without it", len(l.Quarantine), in, maxQuarantined)
	}
	l = ledgerIn(t, t.TempDir())
	for i := range 2 * maxQuarantined {
		name := fmt.Sprint(i)
		l.condemn(name, quarantined{Bundle: bundleNo(1), At: begin})
		if got := l.aim(fleet.Entry{Name: name, Bundle: bundleNo(1)}); !got.Removed {
			t.Fatalf("aim(%s) = %+v, want nothing served: it was just condemned, when all others were", name, got)
		}
	}
}

func TestLastGood(t *testing.T) {
	l := ledgerIn(t, t.TempDir())
	l.try("a.test", certTrial{Bundle: bundleNo(2), Back: bundleNo(1)}, false)
	l.try("new.test", certTrial{Bundle: bundleNo(2)}, false)
	for name, tt := range map[string]struct {
		name       string
		have, want fleet.Hash
	}{
		"seen":                          {"b.test", bundleNo(5), bundleNo(5)},
		"not seen yet":                  {"a.test", bundleNo(2), bundleNo(1)},
		"another than the one on trial": {"a.test", bundleNo(5), bundleNo(5)},
		"not seen, nothing before it":   {"new.test", bundleNo(2), bundleNo(2)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := l.lastGood(tt.name, tt.have); got != tt.want {
				t.Errorf("lastGood(%s, %s) = %s, want %s", tt.name, tt.have, got, tt.want)
			}
		})
	}
}

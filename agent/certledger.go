package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Bounds of a ledger. What is beyond is trusted, or tried once more.
const (
	maxTrials      = 1000
	maxQuarantined = 1000
)

// certTrial is a bundle that has gone live and was not yet seen in a handshake.
type certTrial struct {
	Bundle fleet.Hash `json:"bundle"`
	Back   fleet.Hash `json:"back,omitzero"` // the last good one; zero: there is none
	At     time.Time  `json:"at"`            // when it went live
	Reload bool       `json:"reload,omitempty"`
}

// quarantined is a bundle that a name is not served with on this node, for as
// long as the inventory wants it.
type quarantined struct {
	Bundle fleet.Hash `json:"bundle"`
	Back   fleet.Hash `json:"back,omitzero"` // served instead; zero: nothing is
	At     time.Time  `json:"at"`
	Why    string     `json:"why"`
	// Alone is set when nothing else could show that nginx itself is well: the
	// bundle is to blame only if the one before is served again.
	Alone bool `json:"alone,omitempty"`
	// Unsigned is set when the signature of an issuer is not its own.
	Unsigned bool `json:"unsigned,omitempty"`
}

// ledger is which certificates of this node are on trial or in quarantine, kept
// over restarts. It has one user at a time.
type ledger struct {
	file  string
	dirty bool

	Trials     map[string]certTrial   `json:"trials,omitempty"` // by name
	Quarantine map[string]quarantined `json:"quarantine,omitempty"`

	// more is trials that there is no room for, of names that nginx loads when it
	// starts, until it was seen to load all of them. They end with the agent.
	more map[string]certTrial
}

// openLedger reads what stateDir remembers. One that cannot be read is begun
// anew with the error: its names are tried again.
func openLedger(stateDir string) (*ledger, error) {
	l := &ledger{file: filepath.Join(stateDir, "certificates.json"), more: map[string]certTrial{}}
	data, err := os.ReadFile(l.file)
	if err == nil {
		err = json.Unmarshal(data, l)
	}
	if l.Trials == nil || err != nil {
		l.Trials = map[string]certTrial{}
	}
	if l.Quarantine == nil || err != nil {
		l.Quarantine = map[string]quarantined{}
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return l, fmt.Errorf("read certificates on trial: %w", err)
	}
	return l, nil
}

// save writes the ledger if it has changed.
func (l *ledger) save() error {
	if !l.dirty {
		return nil
	}
	data, err := json.Marshal(l)
	if err == nil {
		err = renameio.WriteFile(l.file, data, 0o600, renameio.WithTempDir(filepath.Dir(l.file)))
	}
	if err != nil {
		return fmt.Errorf("save certificates on trial: %w", err)
	}
	l.dirty = false
	return nil
}

// try puts a name on trial. held says that nginx loads it when it starts.
func (l *ledger) try(name string, t certTrial, held bool) {
	if _, known := l.Trials[name]; known || len(l.Trials) < maxTrials {
		l.Trials[name], l.dirty = t, true
		delete(l.more, name)
	} else if held {
		l.more[name] = t
	}
}

// trial is that of a name, if it is on trial.
func (l *ledger) trial(name string) (certTrial, bool) {
	t, on := l.Trials[name]
	if !on {
		t, on = l.more[name]
	}
	return t, on
}

// end takes a name off trial.
func (l *ledger) end(name string) {
	delete(l.more, name)
	if _, on := l.Trials[name]; on {
		delete(l.Trials, name)
		l.dirty = true
	}
}

// condemn puts a name's bundle into quarantine; the oldest one leaves where
// there are too many.
func (l *ledger) condemn(name string, q quarantined) {
	l.end(name)
	l.Quarantine[name], l.dirty = q, true
	if len(l.Quarantine) <= maxQuarantined {
		return
	}
	var oldest string
	for n, other := range l.Quarantine {
		if n != name && (oldest == "" || other.At.Before(l.Quarantine[oldest].At)) {
			oldest = n
		}
	}
	delete(l.Quarantine, oldest)
}

// distrusts reports whether a bundle was sealed for this fleet that its issuer
// has not signed: others may have been too.
func (l *ledger) distrusts() bool {
	for _, q := range l.Quarantine {
		if q.Unsigned {
			return true
		}
	}
	return false
}

// aim is what this node serves a name with when the inventory has e for it. An
// inventory that wants another bundle ends the quarantine.
func (l *ledger) aim(e fleet.Entry) fleet.Entry {
	q, in := l.Quarantine[e.Name]
	switch {
	case !in:
		return e
	case e.Removed || e.Bundle != q.Bundle:
		delete(l.Quarantine, e.Name)
		l.dirty = true
		return e
	case q.Back.IsZero():
		return fleet.Entry{Name: e.Name, Removed: true, Changed: e.Changed}
	}
	e.Bundle = q.Back
	return e
}

// lastGood is what a name goes back to if a bundle that replaces have fails. One
// that nobody has seen yet is better than none.
func (l *ledger) lastGood(name string, have fleet.Hash) fleet.Hash {
	if t, on := l.trial(name); on && t.Bundle == have && !t.Back.IsZero() {
		return t.Back
	}
	return have
}

// barred are the bundles in quarantine, by name.
func (l *ledger) barred() map[string]fleet.Hash {
	all := make(map[string]fleet.Hash, len(l.Quarantine))
	for name, q := range l.Quarantine {
		all[name] = q.Bundle
	}
	return all
}

// problem tells people what is in quarantine.
func (l *ledger) problem() fleet.Problem {
	var lines []string
	for _, name := range firstNames(l.Quarantine) {
		q := l.Quarantine[name]
		instead := "nothing is served instead"
		if !q.Back.IsZero() {
			instead = "the one before is, " + short(q.Back)
		}
		lines = append(lines, fmt.Sprintf("%s is not served with %s (%s), %s", name, short(q.Bundle), q.Why, instead))
	}
	return fleet.Problem{Code: "certificate-quarantined", Severity: fleet.Alarm,
		Message: fmt.Sprintf("%d names: %s", len(l.Quarantine), strings.Join(lines, "; ")),
		Hint:    "import another certificate for each: these ones are not tried again on this node"}
}

// spare are the bundles that names may have to go back to.
func (l *ledger) spare() []fleet.Hash {
	var all []fleet.Hash
	for _, trials := range []map[string]certTrial{l.Trials, l.more} {
		for _, t := range trials {
			all = append(all, t.Back)
		}
	}
	for _, q := range l.Quarantine {
		all = append(all, q.Back)
	}
	return slices.DeleteFunc(all, fleet.Hash.IsZero)
}

package renderer

import (
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Outcome is how a release ended.
type Outcome struct {
	// Reload is the verdict. Its Release is the one it is about, which is not
	// the active one after rejected and rolled-back.
	Reload fleet.Reload
	// Proved is true when nginx was seen serving the release: new workers,
	// its number, and in mode ring its key on every listener. Listeners that
	// have nothing to prove (ListenerProof.Skipped) do not count against it.
	Proved    bool
	Listeners []fleet.ListenerProof
	Problems  []fleet.Problem
	Refused   Refusal // certificates that nginx refuses to load
}

// change is one release on its way.
type change struct {
	m       manifest
	in      Inspection
	began   time.Time
	back    uint64 // release to go back to; 0 is none at all
	hasBack bool   // going back is possible
	flipped bool   // current has been changed
	logFrom int64  // where nginx's error log ended before the reload
	before  proofs // what the listeners showed before the reload
	refused Refusal
	sites   siteFiles // of the release
	from    Sites     // that they were made from
}

// end makes the outcome of a change.
func (c *change) end(result fleet.ReloadResult, err error) Outcome {
	o := Outcome{
		Reload: fleet.Reload{
			At: c.began.UTC().Truncate(time.Second), Result: result, Reason: c.m.Reason,
			Release: c.m.Release, Took: time.Since(c.began),
		},
		Problems: c.in.Problems, Refused: c.refused,
	}
	if err != nil {
		o.Reload.Err = err.Error()
	}
	return o
}

// with adds what handshakes showed, and whether that proves the release.
func (o Outcome) with(ps proofs, m manifest, in Inspection) Outcome {
	o.Listeners = ps.seen
	o.Problems = append(o.Problems, ps.problems(m.Key)...)
	o.Proved = in.parsed && in.Included && (m.Mode == fleet.ModePerHost || ps.all(m.Key))
	return o
}

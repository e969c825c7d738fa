package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// TestEditsAreTold shows a report that tells of each edit, but changes no more
// often than it may, and forgets an hour after the last one.
func TestEditsAreTold(t *testing.T) {
	p := newProblems(func() {})
	e := &edits{log: hclog.NewNullLogger(), problems: p, told: newWake()}
	one := func(path string, exposes bool) []edited {
		return []edited{{renderer.Edit{Path: path, What: "changed", Exposes: exposes}, "made as it was"}}
	}
	message := func(code string) string {
		for _, x := range p.list() {
			if x.Code == code {
				return x.Message
			}
		}
		return ""
	}
	now := time.Now()
	e.tell(now, nil)
	if again := e.show(now); !again.IsZero() || len(p.list()) > 0 {
		t.Errorf("show() without an edit = %s, problems %v, want nothing", again, p.list())
	}
	if len(e.told) > 0 {
		t.Error("somebody is woken to show nothing")
	}
	e.tell(now, one("/a", false))
	if got := message("foreign-edit"); !strings.HasPrefix(got, "1 changes") || !strings.Contains(got, "/a (changed): made as it was") || message("keys-exposed") != "" {
		t.Errorf("problems after one edit = %v, want it told and no key exposed", p.list())
	}
	e.tell(now.Add(time.Second), one("/b", true))
	if got := message("foreign-edit"); strings.Contains(got, "/b") {
		t.Errorf("problem a second later = %q, want it unchanged for %s", got, editsEvery)
	}
	if len(e.told) == 0 {
		t.Error("nobody is woken to show what comes later")
	}
	again := e.show(now.Add(2 * time.Second))
	if want := now.Add(editsEvery); !again.Equal(want) {
		t.Errorf("show() = %s, want %s", again, want)
	}
	e.show(again)
	if got := message("foreign-edit"); !strings.HasPrefix(got, "2 changes") || !strings.Contains(got, "/b (changed): made as it was; /a") {
		t.Errorf("problem = %q, want both edits, the newest first", got)
	}
	if list := p.list(); list[0].Code != "keys-exposed" || list[0].Severity != fleet.Alarm || !strings.Contains(list[0].Message, "/b") {
		t.Errorf("problems = %v, want an alarm about the key in /b first", list)
	}
	var many []edited
	for i := range 50 {
		many = append(many, one(fmt.Sprintf("/many%d", i), false)...)
	}
	at := now.Add(time.Minute)
	e.tell(at, many)
	if got := message("foreign-edit"); !strings.HasPrefix(got, "52 changes") || strings.Count(got, "/many") != editsNamed {
		t.Errorf("problem after 50 more = %q, want %d of them by path", got, editsNamed)
	}
	e.show(at.Add(editsShown - time.Second))
	if message("foreign-edit") == "" || message("keys-exposed") == "" {
		t.Error("an edit is forgotten before its time")
	}
	if again := e.show(at.Add(editsShown)); !again.IsZero() || len(p.list()) > 0 {
		t.Errorf("show() an hour later = %s, problems %v, want none", again, p.list())
	}
	e.tell(at.Add(2*editsShown), one("/c", false))
	if got := message("foreign-edit"); !strings.HasPrefix(got, "1 changes") || message("keys-exposed") != "" {
		t.Errorf("problems after another edit = %v, want it alone", p.list())
	}
}

func TestFightSlowsDown(t *testing.T) {
	now := time.Now()
	var f fight
	f.note(now, false)
	if !f.until.IsZero() {
		t.Errorf("nothing was found, and repairs wait until %s", f.until)
	}
	f.note(now, true)
	var pauses []time.Duration
	for range 9 {
		pauses = append(pauses, f.until.Sub(now))
		now = f.until
		f.note(now, true)
	}
	if want := "[250ms 500ms 1s 2s 4s 8s 16s 30s 30s]"; fmt.Sprint(pauses) != want {
		t.Errorf("pauses = %v, want %s", pauses, want)
	}
	now = f.until.Add(fightOver)
	f.note(now, true)
	if got := f.until.Sub(now); got != fightMost {
		t.Errorf("pause after %s of peace = %s, want %s still", fightOver, got, fightMost)
	}
	now = f.until.Add(fightOver + 1)
	f.note(now, true)
	if got := f.until.Sub(now); got != fightFirst {
		t.Errorf("pause after more peace = %s, want %s again", got, fightFirst)
	}
}

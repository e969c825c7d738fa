package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/notify"
)

// told collects events.
type told struct{ events []notify.Event }

func (c *told) take(e notify.Event) { c.events = append(c.events, e) }

func TestNoticesOfAlarms(t *testing.T) {
	var c told
	since := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	alarm := fleet.Problem{Code: "ring-refused", Severity: fleet.Alarm, Message: "m", Since: since}
	reports := []fleet.Report{{Node: "n1", Problems: []fleet.Problem{alarm, {Code: "w", Severity: fleet.Warning, Since: since}}}, {Node: "n2"}}
	n := notices{fleet: "f", tell: c.take}
	n.reported(reports)
	n.reported(reports)
	if len(c.events) != 2 || c.events[0].ID != c.events[1].ID || c.events[0].Facts["node"] != "n1" || c.events[0].Kind != notify.Problem {
		t.Errorf("reported() told %+v, want the alarm of n1 with one ID", c.events)
	}
	alarm.Since = since.Add(time.Hour)
	n.reported([]fleet.Report{{Node: "n1", Problems: []fleet.Problem{alarm}}})
	if len(c.events) != 3 || c.events[2].ID == c.events[0].ID {
		t.Error("reported() told an alarm that came again with the same ID")
	}
}

func TestNoticesOfEnds(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	tests := map[string]struct {
		left time.Duration
		want string // part of the ID; empty: not told
	}{
		"far":       {31 * day, ""},
		"a month":   {30 * day, (30 * day).String()},
		"20 days":   {20 * day, (30 * day).String()},
		"10 days":   {10 * day, (14 * day).String()},
		"2 days":    {2 * day, (3 * day).String()},
		"an hour":   {time.Hour, day.String()},
		"yesterday": {-day, day.String()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var c told
			notices{fleet: "f", tell: c.take}.ending(fleet.Entry{Name: "a.test", NotAfter: now.Add(tt.left)}, now)
			if told := len(c.events) == 1; told != (tt.want != "") || told && !strings.Contains(c.events[0].ID, "-"+tt.want+"-") {
				t.Errorf("ends() told %+v, want %q", c.events, tt.want)
			}
		})
	}
}

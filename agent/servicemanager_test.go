package agent

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// recordStates runs a service manager's loop and records what it says.
func recordStates(t *testing.T, s *serviceManager) func() []string {
	t.Helper()
	var mu sync.Mutex
	var states []string
	s.log = hclog.NewNullLogger()
	s.report = func() fleet.Report {
		return fleet.Report{Mode: fleet.ModeRing, Applied: 3, Proved: 3, Release: 7, Names: 2}
	}
	s.tell = func(_ hclog.Logger, state ...string) {
		mu.Lock()
		defer mu.Unlock()
		states = append(states, state...)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	return func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		defer func() { states = nil }()
		return states
	}
}

func TestServiceManagerIsToldOnceReadyAndWhatChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		take := recordStates(t, &serviceManager{ready: ready, turn: time.Hour})
		<-time.After(time.Minute)
		if got := strings.Join(take(), "|"); got != "STATUS=ring epoch 3 proved, release 7, 2 names" {
			t.Errorf("states before it follows = %q, want its status once", got)
		}
		close(ready)
		<-time.After(time.Minute)
		if got := strings.Join(take(), "|"); got != "READY=1" {
			t.Errorf("states = %q, want READY=1 alone", got)
		}
	})
}

func TestWatchdogIsFedOnlyWhileTheLoopComesAround(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := make(chan struct{})
		ctx, hang := context.WithCancel(t.Context())
		go func() { // the follower's loop
			for ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-turns:
				}
			}
		}()
		take := recordStates(t, &serviceManager{turns: turns, turn: 10 * time.Minute, watchdog: time.Minute})
		<-time.After(time.Hour)
		if got := strings.Count(strings.Join(take(), "|"), "WATCHDOG=1"); got < 180 {
			t.Errorf("fed %d times in an hour, want three times a minute", got)
		}
		hang()
		<-time.After(9 * time.Minute)
		if got := take(); len(got) == 0 {
			t.Error("not fed during a turn that may take ten minutes")
		}
		<-time.After(2 * time.Minute)
		take()
		<-time.After(time.Hour)
		if got := take(); len(got) > 0 {
			t.Errorf("fed %d times although the loop hangs, want silence", len(got))
		}
	})
}

func TestStatusLine(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		report fleet.Report
		want   string
	}{
		"fresh": {fleet.Report{}, "no ring yet, release 0, 0 names"},
		"not proved": {
			fleet.Report{Mode: fleet.ModeRing, Applied: 4, Proved: 3, Release: 9, Names: 1},
			"ring epoch 4 not proved yet, release 9, 1 names",
		},
		"alarms": {
			fleet.Report{Mode: fleet.ModePerHost, Release: 2, Problems: []fleet.Problem{
				{Code: "per-host-keys", Severity: fleet.Alarm}, {Code: "foreign-edit", Severity: fleet.Warning}, {Code: "ring-missing", Severity: fleet.Alarm},
			}},
			"ticket keys of this host only, release 2, 0 names; alarms: per-host-keys ring-missing",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := statusLine(tt.report); got != tt.want {
				t.Errorf("statusLine = %q, want %q", got, tt.want)
			}
		})
	}
}

package agent

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

const (
	statusEvery = 15 * time.Second // how often the service manager may be told news
	// turnTests is how often one turn of the follower's loop runs nginx -t at
	// most: the release, what was before it, and a trial of what stands in the way.
	turnTests = 4
	testTime  = 3 * time.Minute // bound of each of them
)

// turnTime is how long one turn of the follower's loop may take: tests, two
// reloads to be proved, and the end of old workers.
func turnTime(cfg config.Config) time.Duration {
	return turnTests*testTime + 2*cfg.Nginx.VerifyTimeout + cfg.Nginx.OldWorkerLimit + time.Minute
}

// serviceManager tells systemd how the agent is (sd_notify(3)). Without a
// service manager all of it is nothing.
type serviceManager struct {
	log      hclog.Logger
	report   func() fleet.Report
	ready    <-chan struct{}                         // closed when the node follows the fleet
	turns    chan<- struct{}                         // taken from by the follower's loop when it is idle
	turn     time.Duration                           // how long that may take, see turnTime
	watchdog time.Duration                           // 0: nobody watches
	absent   bool                                    // nobody is told anything
	tell     func(log hclog.Logger, state ...string) // tellServiceManager but in tests
}

// newServiceManager reads what the environment says. Its Run has to be running
// while the follower is.
func newServiceManager(a *Agent) *serviceManager {
	log := a.log.Named("systemd")
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("watchdog not used", "err", err)
	}
	turns := make(chan struct{})
	a.follower.turns = turns
	return &serviceManager{
		log: log, report: a.view.Report, ready: a.follower.recovered, turns: turns, turn: turnTime(a.cfg),
		watchdog: watchdog, absent: os.Getenv("NOTIFY_SOCKET") == "", tell: tellServiceManager,
	}
}

// Run says when the node follows, what it does, and that it lives, until ctx
// ends. It lives as long as the follower's loop comes around: one that hangs
// stops the watchdog's news turnTime later.
func (s *serviceManager) Run(ctx context.Context) error {
	if s.absent {
		<-ctx.Done()
		return nil
	}
	every := statusEvery
	if s.watchdog > 0 {
		every = min(every, s.watchdog/3)
	}
	ready, turns, turned, told := s.ready, s.turns, time.Now(), ""
	for {
		var news []string
		select {
		case <-ctx.Done():
			return nil
		case <-ready:
			ready = nil
			news = append(news, daemon.SdNotifyReady)
		case turns <- struct{}{}:
			turns, turned = nil, time.Now()
			continue
		case <-time.After(fleet.UntilBeat(every)):
			turns = s.turns
			if s.watchdog > 0 && time.Since(turned) < s.turn {
				news = append(news, daemon.SdNotifyWatchdog)
			}
		}
		if line := statusLine(s.report()); line != told {
			told = line
			news = append(news, "STATUS="+line)
		}
		s.tell(s.log, news...)
	}
}

// statusLine is a report in one line.
func statusLine(r fleet.Report) string {
	var line string
	switch {
	case r.Mode == fleet.ModeNone:
		line = "no ring yet"
	case r.Mode == fleet.ModePerHost:
		line = "ticket keys of this host only"
	case r.Proved == r.Applied:
		line = fmt.Sprintf("ring epoch %d proved", r.Applied)
	default:
		line = fmt.Sprintf("ring epoch %d not proved yet", r.Applied)
	}
	line += fmt.Sprintf(", release %d, %d names", r.Release, r.Names)
	var alarms []string
	for _, p := range r.Problems {
		if p.Severity == fleet.Alarm {
			alarms = append(alarms, p.Code)
		}
	}
	if len(alarms) > 0 {
		line += "; alarms: " + strings.Join(alarms, " ")
	}
	return line
}

// tellServiceManager sends states, if there is a service manager to hear them.
func tellServiceManager(log hclog.Logger, state ...string) {
	if len(state) == 0 {
		return
	}
	if _, err := daemon.SdNotify(false, strings.Join(state, "\n")); err != nil {
		log.Warn("service manager not told", "err", err)
	}
}

// tellReloading announces that the configuration is read again; the end of that
// is the next daemon.SdNotifyReady.
func tellReloading(log hclog.Logger) {
	tellServiceManager(log, daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec())
}

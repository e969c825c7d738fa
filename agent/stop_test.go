package agent_test

import (
	"bytes"
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent"
)

// ender ends a context when a line of a log has a text.
type ender struct {
	text []byte
	end  context.CancelFunc
	seen atomic.Bool
}

func (e *ender) Write(line []byte) (int, error) {
	if bytes.Contains(line, e.text) {
		e.seen.Store(true)
		e.end()
	}
	return len(line), nil
}

// TestAgentIsStoppedAtAnyMoment: an agent that is told to end has not failed,
// however far it has come.
func TestAgentIsStoppedAtAnyMoment(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"agent started", "inventory loaded", "leading"} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			f := followerOf(t)
			f.cfg.Socket, f.cfg.HTTP.Address = filepath.Join(f.cfg.RunDir, "agent.sock"), ""
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			e := &ender{text: []byte(moment), end: cancel}
			a, err := agent.New(f.cfg, agent.Options{Log: hclog.New(&hclog.LoggerOptions{Output: e, Level: hclog.Debug})})
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Run(ctx); err != nil {
				t.Errorf("Run() ended at %q = %v, want nil", moment, err)
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			if !e.seen.Load() {
				t.Errorf("the agent ended before %q", moment)
			}
		})
	}
}

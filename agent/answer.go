package agent

import (
	"context"
	"errors"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/renderer"
)

// answers keeps this node's nginx on what the fleet answers HTTP-01 challenges
// with. It begins with what the active release has, so that a start without
// Consul changes nothing.
type answers struct {
	log      hclog.Logger
	store    *store.Store
	problems *problems
	acme     config.ACME
	changed  func()

	mu         sync.Mutex
	thumbprint string // the last one known: one that is missing in Consul stays
}

func newAnswers(a *Agent, probs *problems) *answers {
	active, err := a.renderer.Active()
	if err != nil {
		a.log.Error("active release unreadable", "err", err)
	}
	return &answers{
		log: a.log.Named("answer"), store: a.store, problems: probs, acme: a.cfg.ACME,
		changed: a.follower.answered.give, thumbprint: active.Challenges.Thumbprint,
	}
}

// Run follows until ctx ends.
func (a *answers) Run(ctx context.Context) error { return a.store.WatchAnswer(ctx, a.see) }

// see takes in what was read in Consul.
func (a *answers) see(rec store.AnswerRecord, err error) {
	switch {
	case errors.Is(err, store.ErrRecord):
		a.log.Error("answer to challenges refused", "err", err)
		a.problems.replace("answer", fleet.Problem{
			Code: "answer-refused", Severity: fleet.Alarm, Message: err.Error(),
			Hint: "challenges are answered as before; the next leader writes the record again",
		})
		return
	case errors.Is(err, store.ErrMissing):
		a.problems.replace("answer")
		return
	case err != nil:
		return
	}
	a.problems.replace("answer")
	if a.learn(rec.Answer.Thumbprint) {
		a.log.Info("answer to challenges read", "thumbprint", rec.Answer.Thumbprint)
		a.changed()
	}
}

// learn reports whether the thumbprint is new.
func (a *answers) learn(thumbprint string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh := a.thumbprint != thumbprint
	a.thumbprint = thumbprint
	return fresh
}

// known is the last thumbprint; empty: there was none.
func (a *answers) known() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.thumbprint
}

// challenges is what a release made now has to answer.
func (a *answers) challenges() renderer.Challenges {
	a.mu.Lock()
	defer a.mu.Unlock()
	return challengesOf(a.acme, a.thumbprint)
}

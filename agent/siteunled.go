package agent

import (
	"context"
	"errors"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// A node with waves may never have had a leader's word on the sites: the leader is
// of a version that knows no waves, its token may not write them or this node's not
// read them, or no node can lead. Such a node follows the sites as they are set. One
// that ever had a word does not: there the record was lost, and the leader writes
// it again.

// How a node without a word goes on.
const (
	firstWord = time.Minute // for the leader, from when there are sites
	unledLook = time.Minute // between two looks at the sites as they are set
)

// unled is what a node knows that never had a leader's word on the sites.
type unled struct {
	wordless bool      // there is no word, or it may not be read
	alone    bool      // the sites are followed as they are set
	since    time.Time // sites without a word were seen; zero: they were not
	next     time.Time // to look at them
}

// led reports whether the leader says which sites are for this node.
func (f *siteFollower) led() bool { return f.cfg.Sites.Waves && !f.unled.alone }

// unheard notes whether this node never had a word, by how reading it went.
func (f *siteFollower) unheard(err error) bool {
	if f.wave.Serial > 0 {
		return false
	}
	if errors.Is(err, store.ErrMissing) || errors.Is(err, store.ErrDenied) {
		f.unled.wordless = true
	}
	return f.unled.wordless
}

// heard ends it.
func (f *siteFollower) heard() {
	if f.unled.alone {
		f.log.Info("the leader says which sites are for this node")
		f.view.led(true)
	}
	f.unled = unled{}
}

// lookUnled looks at the sites as they are set, if there is no word on them, and
// has them followed once the leader had its time.
func (f *siteFollower) lookUnled(ctx context.Context, now time.Time) {
	u := &f.unled
	if !u.wordless || now.Before(u.next) {
		return
	}
	u.next = fleet.Beat(now, unledLook)
	head, err := f.store.SiteHead(ctx)
	if err != nil {
		if f.tellContact(err); !f.ready {
			u.next = now.Add(lookWaiting)
		}
		return
	}
	if u.since.IsZero() {
		u.since = now
	}
	if !u.alone && now.Sub(u.since) < firstWord {
		u.next = u.since.Add(firstWord)
		f.tellContact(nil)
		return
	}
	if !u.alone {
		u.alone = true
		f.view.led(false)
		f.log.Warn("no leader says which sites are for this node, following them as they are set", "epoch", head.Head.Epoch)
	}
	f.problems.replace("sites-contact", fleet.Problem{
		Code: "sites-unled", Severity: fleet.Warning, Message: "sites are served as they are set, without waves: no leader has said which are for this node, or its token may not read that",
		Hint: "upgrade the nodes that may lead, and give their tokens and this one's the rules that tlsfleet policy prints; waves = false in the block sites does without",
	})
	if head.Index != f.target.Index {
		f.target, f.behind, f.wait, f.next = head, true, 0, time.Time{}
	}
}

package agent

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/handlers"
)

func newHub(t *testing.T, dir string) *hub {
	t.Helper()
	h, err := openHub("prod", dir, true, hclog.NewNullLogger(), newProblems(func() {}), func() {})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func rotateEvent(n int) fleet.Event {
	return fleet.Event{ID: fmt.Sprintf("id-%d", n), Name: handlers.EventRotate, LTime: uint64(n)} //nolint:gosec // small
}

func pending(t *testing.T, h *hub, want int, when string) {
	t.Helper()
	if got := len(h.requests()); got != want {
		t.Errorf("%s: %d requests are pending, want %d", when, got, want)
	}
}

func TestHubTakesAnEventOnceFromBothWays(t *testing.T) {
	h := newHub(t, t.TempDir())
	h.observe(nil)
	h.observe([]fleet.Event{rotateEvent(1)})
	if err := h.Accept([]fleet.Event{rotateEvent(1)}); err != nil {
		t.Fatal(err)
	}
	pending(t, h, 1, "after the watch and the handler brought it")
}

func TestHubIgnoresWhatWasThereAtItsFirstStart(t *testing.T) {
	h := newHub(t, t.TempDir())
	h.observe([]fleet.Event{rotateEvent(1), rotateEvent(2)})
	pending(t, h, 0, "old events")
	h.observe([]fleet.Event{rotateEvent(1), rotateEvent(2), rotateEvent(3)})
	pending(t, h, 1, "then a new one")
}

func TestHubCatchesUpAfterARestart(t *testing.T) {
	dir := t.TempDir()
	newHub(t, dir).observe(nil)
	h := newHub(t, dir)
	h.observe([]fleet.Event{rotateEvent(1)})
	pending(t, h, 1, "an event fired while the agent was down")
	h = newHub(t, dir)
	h.observe([]fleet.Event{rotateEvent(1)})
	pending(t, h, 1, "the same event after another restart, not acted on")
	h.settle(nil, h.requests()[0].ID)
	h = newHub(t, dir)
	h.observe([]fleet.Event{rotateEvent(1)})
	pending(t, h, 0, "the same event after it was acted on")
}

func TestHubKeepsRequestsOverARestartWithoutTheirKeys(t *testing.T) {
	dir := t.TempDir()
	key := bytes.Repeat([]byte{7}, fleet.KeySize128)
	adopt := fleet.Event{ID: "key", Name: handlers.EventRefresh, Payload: []byte(base64.StdEncoding.EncodeToString(key))}
	h := newHub(t, dir)
	h.observe(nil)
	h.observe([]fleet.Event{rotateEvent(1), adopt})
	noted := h.requests()[1].Seen
	text, err := os.ReadFile(h.file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, adopt.Payload) || bytes.Contains(text, key) {
		t.Errorf("the file shows the key: %s", text)
	}
	h = newHub(t, dir)
	pending(t, h, 1, "after a restart, before Consul's buffer came")
	h.observe([]fleet.Event{rotateEvent(1), adopt})
	pending(t, h, 2, "with Consul's buffer")
	if q := h.requests()[1]; !q.Adopt || q.Key.Len() != len(key) || !q.Seen.Equal(noted) {
		t.Errorf("request = %+v, want the adoption noted at %s", q, noted)
	}
}

func TestHubSurvivesAReplayOfConsulsWholeBuffer(t *testing.T) {
	h := newHub(t, t.TempDir())
	h.observe(nil)
	var all []fleet.Event
	for n := range 256 {
		all = append(all, rotateEvent(n))
	}
	h.observe(all)
	pending(t, h, 256, "the buffer")
	for range 3 {
		if err := h.Accept(all); err != nil {
			t.Fatal(err)
		}
	}
	pending(t, h, 256, "the buffer again and again")
	var ids []string
	for _, q := range h.requests() {
		ids = append(ids, q.ID)
	}
	h.settle(&fleet.Ring{Events: ids})
	pending(t, h, 0, "a ring that has acted on them")
}

func TestHubReportsWhatItRefuses(t *testing.T) {
	h := newHub(t, t.TempDir())
	h.observe(nil)
	for name, payload := range map[string][]byte{
		"empty":    nil,
		"47 bytes": []byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 47))),
		"9 KB":     bytes.Repeat([]byte("A"), 9<<10),
	} {
		t.Run(name, func(t *testing.T) {
			h.observe([]fleet.Event{{ID: name, Name: handlers.EventRefresh, Payload: payload}})
			pending(t, h, 0, "a bad key")
			if got := h.problems.list(); len(got) != 1 || got[0].Code != "event-refused" {
				t.Errorf("problems = %+v, want one event-refused", got)
			}
		})
	}
}

func TestHubTakesABurstForNewAfterAnEmptyList(t *testing.T) {
	h := newHub(t, t.TempDir())
	for _, events := range [][]fleet.Event{nil, {rotateEvent(1), rotateEvent(2)}} {
		if err := h.Accept(events); err != nil {
			t.Fatal(err)
		}
	}
	pending(t, h, 2, "a handler's empty list, then two events at once")
}

func TestHubTakesTheFirstListOfAHandlerForOld(t *testing.T) {
	for _, count := range []int{1, 2} {
		h := newHub(t, t.TempDir())
		var events []fleet.Event
		for n := range count {
			events = append(events, rotateEvent(n))
		}
		if err := h.Accept(events); err != nil {
			t.Fatal(err)
		}
		pending(t, h, 0, "a handler's first list, before Consul was read")
		h.baseline(append(events, rotateEvent(8))) // read late: there was a look before
		if err := h.Accept(append(events, rotateEvent(8), rotateEvent(9))); err != nil {
			t.Fatal(err)
		}
		pending(t, h, 2, "then two new ones")
	}
}

func TestHubBaselineIsOnlyForTheFirstStart(t *testing.T) {
	dir := t.TempDir()
	h := newHub(t, dir)
	h.baseline([]fleet.Event{rotateEvent(1)})
	if err := h.Accept([]fleet.Event{rotateEvent(1), rotateEvent(2), rotateEvent(3)}); err != nil {
		t.Fatal(err)
	}
	pending(t, h, 2, "one event was there at the start, then two came")
	for _, q := range h.requests() {
		h.settle(nil, q.ID)
	}
	h = newHub(t, dir)
	h.baseline([]fleet.Event{rotateEvent(3), rotateEvent(4)})
	if err := h.Accept([]fleet.Event{rotateEvent(3), rotateEvent(4)}); err != nil {
		t.Fatal(err)
	}
	pending(t, h, 1, "an event that came while the agent was down")
}

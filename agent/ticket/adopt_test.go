package ticket_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

func adoption(now time.Time) ticket.Change {
	return ticket.Change{Now: now, By: "root@a", Cause: fleet.CauseAdopt, Events: []string{"e1"}}
}

func TestAdoptThenPromote(t *testing.T) {
	old := ringOf(t, 1) // 2, 3 and previous 1
	now := day.Add(5 * time.Hour)
	got, err := ticket.Adopt(old, secret(48, 60), fleet.OriginEvent, adoption(now))
	if err != nil {
		t.Fatal(err)
	}
	want := fleet.Ring{
		Epoch: 3, Changed: now, Cause: fleet.CauseAdopt, By: "root@a", Events: []string{"e1"}, Promote: true,
		Next:    fleet.TicketKey{Raw: secret(48, 60), Origin: fleet.OriginEvent, Born: now},
		Current: old.Current, Previous: old.Previous,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Adopt() = %+v, want %+v", got, want)
	}
	c := rotation(t, 61)
	c.Cause = fleet.CausePromote
	promoted, err := ticket.Rotate(got, c)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seeds(promoted), []uint32{60, 61, 2, 1}) || promoted.Promote {
		t.Errorf("Rotate() = keys %v, promote %t, want [60 61 2 1], false", seeds(promoted), promoted.Promote)
	}
}

func TestAdoptAnotherKeyBeforePromotion(t *testing.T) {
	first, err := ticket.Adopt(firstRing(t), secret(80, 60), fleet.OriginEvent, adoption(day))
	if err != nil {
		t.Fatal(err)
	}
	second, err := ticket.Adopt(first, secret(80, 61), fleet.OriginFile, adoption(day))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seeds(second), []uint32{1, 61}) || second.Epoch != 3 {
		t.Errorf("Adopt() = keys %v at epoch %d, want [1 61] at 3", seeds(second), second.Epoch)
	}
}

func TestAdoptOwnNextKeyPromotesIt(t *testing.T) {
	got, err := ticket.Adopt(firstRing(t), secret(80, 2), fleet.OriginFile, adoption(day))
	if err != nil {
		t.Fatal(err)
	}
	if !got.Promote || got.Epoch != 2 || got.Next.Origin != fleet.OriginFile {
		t.Errorf("Adopt(next) = promote %t, epoch %d, origin %q, want true, 2, file", got.Promote, got.Epoch, got.Next.Origin)
	}
}

func TestAdoptKeepsEmergency(t *testing.T) {
	c := rotation(t, 0)
	c.Cause, c.Fresh = fleet.CauseEmergency, freshKeys(t, 2, 20)
	urgent, err := ticket.Emergency(firstRing(t), c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ticket.Adopt(urgent, secret(80, 60), fleet.OriginFile, adoption(day))
	if err != nil {
		t.Fatal(err)
	}
	if !got.Emergency {
		t.Error("Adopt() after Emergency has emergency false, want true until a rotation")
	}
}

func TestAdoptRefuses(t *testing.T) {
	ring := ringOf(t, 2) // 3, 4 and previous 2 1
	adopted, err := ticket.Adopt(ring, secret(80, 60), fleet.OriginEvent, adoption(day))
	if err != nil {
		t.Fatal(err)
	}
	// twin has the name of a key and another secret.
	twin := func(seed uint32) fleet.Secret {
		raw := rawKey(80, seed)
		raw[79]++
		return fleet.NewSecret(raw)
	}
	tests := map[string]struct {
		ring   fleet.Ring
		key    fleet.Secret
		origin fleet.Origin
		want   error
		text   string
	}{
		"current":           {ring, secret(80, 3), fleet.OriginEvent, ticket.ErrAlreadyCurrent, "current already"},
		"newest previous":   {ring, secret(80, 2), fleet.OriginEvent, ticket.ErrUsed, "previous"},
		"oldest previous":   {ring, secret(80, 1), fleet.OriginFile, ticket.ErrUsed, "previous"},
		"adopted already":   {adopted, secret(80, 60), fleet.OriginEvent, ticket.ErrAlreadyNext, "adopted already"},
		"name of current":   {ring, twin(3), fleet.OriginEvent, ticket.ErrUsed, "name of a current key"},
		"name of next":      {ring, twin(4), fleet.OriginEvent, ticket.ErrUsed, "name of a next key"},
		"name of adopted":   {adopted, twin(60), fleet.OriginEvent, ticket.ErrUsed, "name of a next key"},
		"name of previous":  {ring, twin(1), fleet.OriginEvent, ticket.ErrUsed, "name of a previous key"},
		"name, shorter key": {ring, secret(48, 3), fleet.OriginEvent, ticket.ErrUsed, "name of a current key"},
		"all zero":          {ring, fleet.NewSecret(make([]byte, 80)), fleet.OriginEvent, ticket.ErrKey, "zero"},
		"no key":            {ring, fleet.Secret{}, fleet.OriginEvent, ticket.ErrKey, "0 bytes"},
		"79 bytes":          {ring, fleet.NewSecret(rawKey(80, 9)[:79]), fleet.OriginEvent, ticket.ErrKey, "79 bytes"},
		"broken ring":       {fleet.Ring{}, secret(80, 60), fleet.OriginEvent, ticket.ErrRing, "epoch 0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ticket.Adopt(tt.ring, tt.key, tt.origin, adoption(day))
			wantError(t, "Adopt()", err, tt.want, tt.text)
			if got.Epoch != 0 {
				t.Errorf("Adopt() = a ring at epoch %d, want none", got.Epoch)
			}
		})
	}
	for _, origin := range []fleet.Origin{fleet.OriginLeader, "", "moon"} {
		if _, err := ticket.Adopt(ring, secret(80, 60), origin, adoption(day)); err == nil {
			t.Errorf("Adopt(origin %q) = nil, want an error", origin)
		}
	}
}

func TestErrInUseCoversItsKinds(t *testing.T) {
	for err, want := range map[error]bool{ticket.ErrAlreadyCurrent: true, ticket.ErrUsed: true, ticket.ErrAlreadyNext: false} {
		if got := errors.Is(err, ticket.ErrInUse); got != want {
			t.Errorf("errors.Is(%v, ErrInUse) = %t, want %t", err, got, want)
		}
	}
}

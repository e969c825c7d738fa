package ticket_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

func TestValidateAccepts(t *testing.T) {
	for name, r := range map[string]fleet.Ring{
		"smallest": firstRing(t), "full": fullRing(t), "32 keys": ringOf(t, 40),
	} {
		if err := ticket.Validate(r); err != nil {
			t.Errorf("Validate(%s) = %v, want nil", name, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	key := func(raw []byte) func(*fleet.Ring) {
		return func(r *fleet.Ring) { r.Current.Raw = fleet.NewSecret(raw) }
	}
	longList := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("n%d", i))
		}
		return list
	}
	tests := map[string]struct {
		edit func(*fleet.Ring)
		want string
	}{
		"zero ring":                   {func(r *fleet.Ring) { *r = fleet.Ring{} }, "epoch 0"},
		"epoch 0":                     {func(r *fleet.Ring) { r.Epoch = 0 }, "epoch 0"},
		"no current":                  {func(r *fleet.Ring) { r.Current = fleet.TicketKey{} }, "current key: missing"},
		"no next":                     {func(r *fleet.Ring) { r.Next = fleet.TicketKey{} }, "next key: missing"},
		"gap":                         {func(r *fleet.Ring) { r.Previous[1] = fleet.TicketKey{} }, "previous key: missing"},
		"33 keys":                     {func(r *fleet.Ring) { r.Previous = make([]fleet.TicketKey, 31) }, "33 keys, at most 32"},
		"47 bytes":                    {key(rawKey(48, 1)[:47]), "current key: not a usable ticket key: 47 bytes"},
		"49 bytes":                    {key(append(rawKey(48, 1), 1)), "49 bytes"},
		"79 bytes":                    {key(rawKey(80, 1)[:79]), "79 bytes"},
		"81 bytes":                    {key(append(rawKey(80, 1), 1)), "81 bytes"},
		"all zero key":                {key(make([]byte, 80)), "zero"},
		"same key, next and previous": {func(r *fleet.Ring) { r.Next.Raw = r.Previous[0].Raw }, "next key and previous key are both named"},
		"same name, other secret": {func(r *fleet.Ring) {
			raw := r.Next.Raw.Reveal()
			raw[70]++
			r.Current.Raw = fleet.NewSecret(raw)
		}, "current key and next key are both named"},
		"unknown origin":          {func(r *fleet.Ring) { r.Next.Origin = "moon" }, `unknown origin "moon"`},
		"unknown cause":           {func(r *fleet.Ring) { r.Cause = "whim" }, `unknown cause "whim"`},
		"no cause":                {func(r *fleet.Ring) { r.Cause = "" }, "unknown cause"},
		"no change time":          {func(r *fleet.Ring) { r.Changed = time.Time{} }, "changed: time is missing"},
		"before 1970":             {func(r *fleet.Ring) { r.Changed = time.Unix(-5, 0).UTC() }, "out of range"},
		"at 1970":                 {func(r *fleet.Ring) { r.Changed = time.Unix(0, 0).UTC() }, "out of range"},
		"year 10000":              {func(r *fleet.Ring) { r.Changed = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "out of range"},
		"local time":              {func(r *fleet.Ring) { r.Changed = r.Changed.In(time.FixedZone("x", 60)) }, "whole seconds UTC"},
		"fraction":                {func(r *fleet.Ring) { r.Changed = r.Changed.Add(1) }, "whole seconds UTC"},
		"never born":              {func(r *fleet.Ring) { r.Next.Born = time.Time{} }, "time is missing"},
		"born in a fraction":      {func(r *fleet.Ring) { r.Next.Born = r.Next.Born.Add(-1) }, "whole seconds UTC"},
		"born after the change":   {func(r *fleet.Ring) { r.Next.Born = r.Changed.Add(time.Second) }, "out of order"},
		"next was promoted":       {func(r *fleet.Ring) { r.Next.Promoted = r.Changed }, "later role"},
		"next was retired":        {func(r *fleet.Ring) { r.Next.Retired = r.Changed }, "later role"},
		"current never promoted":  {func(r *fleet.Ring) { r.Current.Promoted = time.Time{} }, "time is missing"},
		"current was retired":     {func(r *fleet.Ring) { r.Current.Retired = r.Changed }, "later role"},
		"promoted before born":    {func(r *fleet.Ring) { r.Current.Promoted = r.Current.Born.Add(-time.Second) }, "out of order"},
		"promoted after change":   {func(r *fleet.Ring) { r.Current.Promoted = r.Changed.Add(time.Second) }, "out of order"},
		"previous never retired":  {func(r *fleet.Ring) { r.Previous[0].Retired = time.Time{} }, "time is missing"},
		"retired before promoted": {func(r *fleet.Ring) { r.Previous[0].Retired = r.Previous[0].Promoted.Add(-time.Second) }, "out of order"},
		"previous out of order": {func(r *fleet.Ring) {
			r.Previous[0], r.Previous[1] = r.Previous[1], r.Previous[0]
		}, "newest first"},
		"huge by":           {func(r *fleet.Ring) { r.By = strings.Repeat("a", 129) }, "by: text of 129 bytes"},
		"by with newline":   {func(r *fleet.Ring) { r.By = "a\nb" }, `by: text "a\nb" has '\n' in it`},
		"by is not UTF-8":   {func(r *fleet.Ring) { r.By = "a\xff" }, "not UTF-8"},
		"513 nodes":         {func(r *fleet.Ring) { r.Skipped = longList(513) }, "513 entries, at most 512"},
		"node twice":        {func(r *fleet.Ring) { r.Skipped = []string{"a", "a"} }, `"a" twice`},
		"node with a slash": {func(r *fleet.Ring) { r.Skipped = []string{"a/b"} }, "skipped nodes: "},
		"257 events":        {func(r *fleet.Ring) { r.Events = longList(257) }, "257 entries, at most 256"},
		"event twice":       {func(r *fleet.Ring) { r.Events = []string{"a", "b", "a"} }, `"a" twice`},
		"empty event":       {func(r *fleet.Ring) { r.Events = []string{""} }, "events: text of 0 bytes"},
		"huge event":        {func(r *fleet.Ring) { r.Events = []string{strings.Repeat("a", 1<<20)} }, "1048576 bytes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := ringOf(t, 2)
			tt.edit(&r)
			wantError(t, "Validate()", ticket.Validate(r), ticket.ErrRing, tt.want)
		})
	}
}

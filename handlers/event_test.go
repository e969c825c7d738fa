package handlers

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

func TestReadEvent(t *testing.T) {
	raw := bytes.Repeat([]byte{7}, 48)
	b64 := base64.StdEncoding.EncodeToString(raw)
	now := time.Unix(1_000_000, 0)
	tests := map[string]struct {
		name    string
		payload string
		accept  bool
		meant   bool
		adopt   bool
		err     error
	}{
		"rotate":                 {EventRotate, "", false, true, false, nil},
		"rotate this fleet":      {EventRotate, "prod", false, true, false, nil},
		"rotate another fleet":   {EventRotate, "other", false, false, false, nil},
		"a stranger's event":     {"deploy", "prod", true, false, false, nil},
		"key, once base64":       {EventRefresh, b64, true, true, true, nil},
		"key with newline":       {EventRefresh, b64 + "\r\n", true, true, true, nil},
		"key while not accepted": {EventRefresh, b64, false, true, false, ErrEventKeysOff},
		"empty payload":          {EventRefresh, "", true, true, false, ticket.ErrKey},
		"empty list":             {EventRefresh, "[]", true, true, false, ticket.ErrKey},
		"47 bytes":               {EventRefresh, base64.StdEncoding.EncodeToString(raw[:47]), true, true, false, ticket.ErrKey},
		"9 KB":                   {EventRefresh, strings.Repeat("A", 9<<10), true, true, false, ticket.ErrKey},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req, meant, err := ReadEvent(fleet.Event{ID: "id", Name: tt.name, Payload: []byte(tt.payload), LTime: 5}, "prod", tt.accept, now)
			if meant != tt.meant || !errors.Is(err, tt.err) || (err != nil) != (tt.err != nil) {
				t.Fatalf("ReadEvent() = meant %v, %v, want %v, %v", meant, err, tt.meant, tt.err)
			}
			if req.Adopt != tt.adopt {
				t.Errorf("ReadEvent() adopt = %v, want %v", req.Adopt, tt.adopt)
			}
			if tt.adopt && !req.Key.Equal(fleet.NewSecret(raw)) {
				t.Error("ReadEvent() read another key than was sent")
			}
		})
	}
}

func TestEventIDIsBounded(t *testing.T) {
	long := EventID(fleet.Event{ID: strings.Repeat("x", 1<<20), Name: EventRotate})
	short := EventID(fleet.Event{ID: "x", Name: EventRotate})
	if len(long) != 16 || len(short) != 16 || long == short {
		t.Errorf("EventID() = %q and %q, want two different names of 16 digits", long, short)
	}
}

package ticket_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/ticket"
)

// fullRing uses every field.
func fullRing(tb testing.TB) fleet.Ring {
	tb.Helper()
	r, err := ticket.Adopt(ringOf(tb, 2), secret(48, 60), fleet.OriginEvent, ticket.Change{
		Now: day.Add(9 * time.Hour), By: `René <root@"a"> & co`, Cause: fleet.CauseAdopt,
		Skipped: []string{"n1", "n2"}, Events: []string{"6a55009e-e141-7cba-6468-6ff1ea139057"},
	})
	if err != nil {
		tb.Fatal(err)
	}
	r.Emergency = true
	return r
}

func encoded(tb testing.TB, r fleet.Ring) []byte {
	tb.Helper()
	b, err := ticket.Encode(r)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestEncodeDecodeRoundTrip(t *testing.T) {
	highest := fullRing(t)
	highest.Epoch = math.MaxUint64
	for name, r := range map[string]fleet.Ring{
		"smallest": firstRing(t), "full": fullRing(t), "largest": ringOf(t, 40), "last epoch": highest,
	} {
		t.Run(name, func(t *testing.T) {
			b := encoded(t, r)
			got, err := ticket.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, r) {
				t.Errorf("Decode(Encode(r)) = %+v, want %+v", got, r)
			}
			if !bytes.Equal(encoded(t, got), b) {
				t.Error("Encode(Decode(b)) differs from b")
			}
		})
	}
}

func TestEncodeIsCanonical(t *testing.T) {
	r := firstRing(t)
	bare := encoded(t, r)
	r.Previous, r.Skipped, r.Events = []fleet.TicketKey{}, []string{}, []string{}
	if got := encoded(t, r); !bytes.Equal(got, bare) {
		t.Errorf("Encode(empty lists) = %s, want %s", got, bare)
	}
	key := func(seed uint32) string { return base64.StdEncoding.EncodeToString(rawKey(80, seed)) }
	want := fmt.Sprintf(`{"schema":1,"epoch":1,"changed":1772366400,"cause":"created","by":"a",`+
		`"current":{"key":%q,"origin":"leader","born":1772366400,"promoted":1772366400},`+
		`"next":{"key":%q,"origin":"leader","born":1772366400}}`, key(1), key(2))
	if string(bare) != want {
		t.Errorf("Encode() = %s, want %s: older agents cannot read another form", bare, want)
	}
}

// TestLargestRecordIsRead fills every list and text to its limit.
func TestLargestRecordIsRead(t *testing.T) {
	r := ringOf(t, 40)
	r.By = strings.Repeat("&", 128)
	for i := range fleet.MaxNodes {
		r.Skipped = append(r.Skipped, fmt.Sprintf("n%062d", i))
	}
	for i := range fleet.MaxRingEvents {
		r.Events = append(r.Events, fmt.Sprintf("%03d%s", i, strings.Repeat("<", 61)))
	}
	b := encoded(t, r)
	if _, err := ticket.Decode(b); err != nil {
		t.Errorf("Decode(largest record, %d bytes) = %v, want a ring", len(b), err)
	}
}

func TestEncodeRefusesBadRing(t *testing.T) {
	if _, err := ticket.Encode(fleet.Ring{}); !errors.Is(err, ticket.ErrRing) {
		t.Errorf("Encode(zero ring) = %v, want ErrRing", err)
	}
}

func TestDecodeRefusesBytes(t *testing.T) {
	good := string(encoded(t, fullRing(t)))
	replaced := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in %s", old, good)
		}
		return strings.Replace(good, old, with, 1)
	}
	var spaced bytes.Buffer
	if err := json.Indent(&spaced, []byte(good), "", " "); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		record string
		want   error
		text   string
	}{
		"empty":             {"", ticket.ErrRecord, ""},
		"not JSON":          {"ring", ticket.ErrRecord, ""},
		"null":              {"null", ticket.ErrRecord, "no schema"},
		"list":              {"[]", ticket.ErrRecord, ""},
		"no schema":         {"{}", ticket.ErrRecord, "no schema"},
		"schema 0":          {replaced(`"schema":1`, `"schema":0`), ticket.ErrRecord, "no schema"},
		"schema -1":         {replaced(`"schema":1`, `"schema":-1`), ticket.ErrRecord, "no schema"},
		"schema 2":          {replaced(`"schema":1`, `"schema":2`), ticket.ErrSchema, "upgrade"},
		"schema 2, new":     {`{"schema":2,"rings":[]}`, ticket.ErrSchema, "schema 2"},
		"schema is text":    {replaced(`"schema":1`, `"schema":"1"`), ticket.ErrRecord, ""},
		"schema twice":      {replaced(`"schema":1`, `"schema":1,"schema":1`), ticket.ErrRecord, "canonical"},
		"unknown field":     {replaced(`"schema":1`, `"schema":1,"extra":1`), ticket.ErrRecord, `unknown field "extra"`},
		"unknown key field": {replaced(`"origin"`, `"x":1,"origin"`), ticket.ErrRecord, `unknown field "x"`},
		"other case":        {replaced(`"epoch"`, `"Epoch"`), ticket.ErrRecord, "canonical"},
		"other order":       {replaced(`"schema":1,"epoch":4`, `"epoch":4,"schema":1`), ticket.ErrRecord, "canonical"},
		"trailing newline":  {good + "\n", ticket.ErrRecord, "canonical"},
		"trailing record":   {good + good, ticket.ErrRecord, ""},
		"trailing garbage":  {good + "x", ticket.ErrRecord, ""},
		"leading space":     {" " + good, ticket.ErrRecord, "canonical"},
		"indented":          {spaced.String(), ticket.ErrRecord, "canonical"},
		"cut":               {good[:len(good)-1], ticket.ErrRecord, ""},
		"explicit false":    {replaced(`"promote":true`, `"promote":false`), ticket.ErrRecord, "canonical"},
		"explicit null":     {replaced(`"promote":true`, `"promote":null`), ticket.ErrRecord, "canonical"},
		"empty list":        {replaced(`"skipped":["n1","n2"]`, `"skipped":[]`), ticket.ErrRecord, "canonical"},
		"other escape":      {replaced(`\u003croot`, `<root`), ticket.ErrRecord, "canonical"},
		"epoch as float":    {replaced(`"epoch":4`, `"epoch":4.0`), ticket.ErrRecord, ""},
		"epoch negative":    {replaced(`"epoch":4`, `"epoch":-4`), ticket.ErrRecord, ""},
		"epoch too large":   {replaced(`"epoch":4`, `"epoch":18446744073709551616`), ticket.ErrRecord, ""},
		"epoch 0":           {replaced(`"epoch":4`, `"epoch":0`), ticket.ErrRing, "epoch 0"},
		"key with newline":  {replaced(`"key":"`, `"key":"\n`), ticket.ErrRecord, "canonical"},
		"key not base64":    {replaced(`"key":"`, `"key":"!`), ticket.ErrRecord, ""},
		"no next":           {replaced(`"next":{`, `"unused":{`), ticket.ErrRecord, "unknown field"},
		"no keys":           {`{"schema":1,"epoch":1,"changed":1,"cause":"created","current":{},"next":{}}`, ticket.ErrRing, "current key: missing"},
		"keys left out":     {`{"schema":1,"epoch":1,"changed":1,"cause":"created"}`, ticket.ErrRing, "current key: missing"},
		"deep":              {strings.Repeat("[", 100_000), ticket.ErrRecord, ""},
		"too large":         {good + strings.Repeat(" ", 256<<10), ticket.ErrRecord, "at most 262144"},
		"huge by":           {replaced(`"by":"`, `"by":"`+strings.Repeat("a", 100_000)), ticket.ErrRing, "bytes, want 1 to 128"},
		"huge cause":        {replaced(`"cause":"`, `"cause":"`+strings.Repeat("a", 100_000)), ticket.ErrRing, "unknown cause"},
		"huge origin":       {replaced(`"origin":"`, `"origin":"`+strings.Repeat("a", 100_000)), ticket.ErrRing, "unknown origin"},
		"huge event":        {replaced(`6a55009e`, strings.Repeat("a", 100_000)), ticket.ErrRing, "want 1 to 64"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ticket.Decode([]byte(tt.record))
			wantError(t, "Decode()", err, tt.want, tt.text)
			if errors.Is(err, ticket.ErrSchema) == errors.Is(err, ticket.ErrRecord) {
				t.Errorf("Decode() = %v, want either ErrSchema or ErrRecord", err)
			}
			if got.Epoch != 0 {
				t.Errorf("Decode() = a ring at epoch %d, want none", got.Epoch)
			}
		})
	}
}

// TestDecodeErrorsShowNoKey cuts the record everywhere and looks for key
// material in what is said about it.
func TestDecodeErrorsShowNoKey(t *testing.T) {
	b := encoded(t, fullRing(t))
	key := base64.StdEncoding.EncodeToString(rawKey(80, 3))
	for n := range len(b) {
		_, err := ticket.Decode(b[:n])
		if !errors.Is(err, ticket.ErrRecord) {
			t.Fatalf("Decode(first %d bytes) = %v, want ErrRecord", n, err)
		}
		if strings.Contains(err.Error(), key[30:38]) {
			t.Fatalf("Decode(first %d bytes) = %v, shows a key", n, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, r := range []fleet.Ring{firstRing(f), fullRing(f), ringOf(f, 40)} {
		b := encoded(f, r)
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append(b, '\n'))
	}
	f.Add([]byte(`{"schema":2}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ticket.Decode(b)
		if err != nil {
			if !errors.Is(err, ticket.ErrRecord) && !errors.Is(err, ticket.ErrSchema) {
				t.Fatalf("Decode(%q) = %v, want ErrRecord or ErrSchema", b, err)
			}
			return
		}
		if err := ticket.Validate(r); err != nil {
			t.Fatalf("Decode(%q) = a ring that is refused: %v", b, err)
		}
		if again := encoded(t, r); !bytes.Equal(again, b) {
			t.Fatalf("Encode(Decode(%q)) = %q", b, again)
		}
	})
}

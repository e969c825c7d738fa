package fleet_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// leaks are the ways the secret of holders can show: 80 bytes of 'Z'.
var leaks = []string{"ZZZ", "WlpaW", "5a5a5a", "5A5A5A", "5a 5a", "5A 5A", "90 90", "90,90", "0x5a, 0x5a", "132 132", "1011010 1011010", "U+005A"}

// holders are values as they come near a logger, each with the same secret.
func holders() map[string]any {
	s := fleet.NewSecret(bytes.Repeat([]byte("Z"), 80))
	key := fleet.TicketKey{Raw: s, Origin: fleet.OriginLeader}
	ring := fleet.Ring{Epoch: 1, Current: key, Next: key, Previous: []fleet.TicketKey{key}}
	return map[string]any{
		"value": s, "pointer": &s, "slice": []fleet.Secret{s}, "slice of pointers": []*fleet.Secret{&s},
		"array": [1]fleet.Secret{s}, "map": map[string]fleet.Secret{"k": s}, "any": []any{s},
		"field": struct{ Key fleet.Secret }{s}, "embedded": struct{ fleet.Secret }{s},
		"pointer field": struct{ Key *fleet.Secret }{&s}, "ticket key": key, "pointer to ticket key": &key, "ring": ring, "pointer to ring": &ring, "member": ring.Members(),
	}
}

var verbs = []string{
	"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%e", "%t", "%T %v",
	"% x", "%#x", "%+q", "%#q", "%100v", "%-5s", "%.3s", "%08d", "%!", "%z",
}

func checkNoLeak(t *testing.T, name, how, out string) {
	t.Helper()
	for _, leak := range leaks {
		if strings.Contains(out, leak) {
			t.Errorf("%s of a secret as %s shows it: %s", how, name, out)
			return
		}
	}
}

func TestSecretNeverPrintsInAnyVerb(t *testing.T) {
	for name, v := range holders() {
		for _, verb := range verbs {
			checkNoLeak(t, name, verb, fmt.Sprintf(verb, v))
		}
		checkNoLeak(t, name, "Sprint", fmt.Sprint(v))
		checkNoLeak(t, name, "Errorf", fmt.Errorf("wrap %v: %w", v, fleet.ErrSecret).Error())
	}
}

func TestSecretPrintsAsRedacted(t *testing.T) {
	s := fleet.NewSecret([]byte("ZZZZ"))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, s); got != "[secret]" {
			t.Errorf("Sprintf(%q) = %q, want [secret]", verb, got)
		}
	}
	if s.String() != "[secret]" || s.GoString() != "[secret]" {
		t.Errorf("String(), GoString() = %q, %q, want [secret]", s.String(), s.GoString())
	}
}

func TestSecretNeverEncodes(t *testing.T) {
	for name, v := range holders() {
		b, err := json.Marshal(v)
		if err != nil || !strings.Contains(string(b), "[secret]") {
			t.Errorf("json.Marshal(%s) = %s, %v, want [secret] in it", name, b, err)
		}
		checkNoLeak(t, name, "json.Marshal", string(b))
	}
	s := fleet.NewSecret([]byte("ZZZZ"))
	if text, err := s.MarshalText(); err != nil || string(text) != "[secret]" {
		t.Errorf("MarshalText() = %q, %v, want [secret]", text, err)
	}
	b, err := xml.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	checkNoLeak(t, "value", "xml.Marshal", string(b))
	keyed, err := json.Marshal(map[string]any{"k": fleet.TicketKey{Raw: s}})
	if err != nil {
		t.Fatal(err)
	}
	checkNoLeak(t, "ticket key", "json.Marshal", string(keyed))
}

func TestSecretNeverDecodes(t *testing.T) {
	var s fleet.Secret
	if err := json.Unmarshal([]byte(`"ZZZZ"`), &s); !errors.Is(err, fleet.ErrSecret) {
		t.Errorf("json.Unmarshal() = %v, want ErrSecret", err)
	}
	if s.Len() != 0 {
		t.Errorf("Len() = %d after a refused decoding, want 0", s.Len())
	}
}

func TestSecretNeverLogs(t *testing.T) {
	for name, v := range holders() {
		var out bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).Info("test", "k", v, slog.Group("g", "k", v))
			slog.New(handler).With("k", v).Info("test")
		}
		checkNoLeak(t, name, "slog", out.String())
		out.Reset()
		for _, asJSON := range []bool{false, true} {
			log := hclog.New(&hclog.LoggerOptions{Output: &out, JSONFormat: asJSON, Level: hclog.Trace})
			log.Info("test", "k", v)
			log.With("k", v).Error("test", "error", fmt.Errorf("cause %v", v))
			log.Info("test", "k", hclog.Fmt("%v %x", v, v))
			log.Info("test", []any{"key_without_value", v, v}...)
		}
		checkNoLeak(t, name, "hclog", out.String())
		if !strings.Contains(out.String(), "[secret]") {
			t.Errorf("hclog of a secret as %s = %s, want [secret] in it", name, out.String())
		}
	}
}

func TestSecretOwnsItsBytes(t *testing.T) {
	given := []byte("ZZZZ")
	s := fleet.NewSecret(given)
	given[0] = 'x'
	s.Reveal()[1] = 'x'
	if got := s.Reveal(); string(got) != "ZZZZ" || s.Len() != 4 {
		t.Errorf("Reveal() = %q of %d, want the bytes it was made of", got, s.Len())
	}
}

func TestSecretEqual(t *testing.T) {
	a := fleet.NewSecret([]byte("ZZZZ"))
	for other, want := range map[string]bool{"ZZZZ": true, "ZZZY": false, "ZZZ": false, "ZZZZZ": false, "": false} {
		if got := a.Equal(fleet.NewSecret([]byte(other))); got != want {
			t.Errorf("Equal(%q) = %t, want %t", other, got, want)
		}
	}
	var zero fleet.Secret
	if !zero.Equal(fleet.NewSecret(nil)) || !reflect.DeepEqual(zero, fleet.NewSecret(nil)) || zero.Len() != 0 {
		t.Error("the zero Secret and NewSecret(nil) differ, want them equal")
	}
	if !reflect.DeepEqual(a, fleet.NewSecret([]byte("ZZZZ"))) {
		t.Error("DeepEqual of equal secrets is false, want true")
	}
}

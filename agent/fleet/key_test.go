package fleet_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

func TestKeyNameText(t *testing.T) {
	tests := map[string]struct {
		name fleet.KeyName
		json string
	}{
		"zero": {fleet.KeyName{}, `""`},
		"some": {fleet.KeyName{0x00, 0x1f, 0xff}, `"001fff00000000000000000000000000"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b, err := json.Marshal(tt.name)
			if err != nil || string(b) != tt.json {
				t.Fatalf("Marshal() = %s, %v, want %s", b, err, tt.json)
			}
			got := fleet.KeyName{9}
			if err := json.Unmarshal(b, &got); err != nil || got != tt.name {
				t.Errorf("Unmarshal(%s) = %v, %v, want %v", b, got, err, tt.name)
			}
			if got.IsZero() != (name == "zero") {
				t.Errorf("IsZero() = %t for %s", got.IsZero(), name)
			}
		})
	}
}

func TestKeyNameRefusesOtherText(t *testing.T) {
	for _, text := range []string{"0", strings.Repeat("0", 30), strings.Repeat("0", 34), strings.Repeat("0", 31), strings.Repeat("0", 33), strings.Repeat("g", 32)} {
		var n fleet.KeyName
		if err := n.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("UnmarshalText(%q) = nil, want an error", text)
		}
	}
}

func TestTicketKeyName(t *testing.T) {
	k := fleet.TicketKey{Raw: fleet.NewSecret([]byte(strings.Repeat("n", 16) + strings.Repeat("s", 32)))}
	if got, want := k.Name(), fleet.KeyName([]byte(strings.Repeat("n", 16))); got != want {
		t.Errorf("Name() = %v, want %v", got, want)
	}
	if k.IsZero() || !(fleet.TicketKey{}).IsZero() || !(fleet.TicketKey{}).Name().IsZero() {
		t.Error("IsZero() is wrong for a key or for none")
	}
}

func TestRingMembersAndEvents(t *testing.T) {
	key := func(c string) fleet.TicketKey {
		return fleet.TicketKey{Raw: fleet.NewSecret([]byte(strings.Repeat(c, 48)))}
	}
	r := fleet.Ring{
		Next: key("n"), Current: key("c"), Previous: []fleet.TicketKey{key("p"), key("q")}, Events: []string{"e1", "e2"},
	}
	var got []string
	for _, m := range r.Members() {
		got = append(got, string(m.Role)+" "+string(m.Key.Raw.Reveal()[:1]))
	}
	if want := "current c, next n, previous p, previous q"; strings.Join(got, ", ") != want {
		t.Errorf("Members() = %s, want %s", strings.Join(got, ", "), want)
	}
	if !r.Acted("e2") || r.Acted("e3") || r.Acted("") {
		t.Error("Acted() is wrong, want true for e2 only")
	}
}

func TestNodeInService(t *testing.T) {
	for node, want := range map[fleet.Node]bool{
		{Healthy: true}: true, {Healthy: false}: true, {Maintenance: true, Healthy: true}: false,
	} {
		if got := node.InService(); got != want {
			t.Errorf("%+v.InService() = %t, want %t", node, got, want)
		}
	}
}

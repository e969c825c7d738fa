package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"
)

func TestNoSecretInClear(t *testing.T) {
	t.Parallel()
	const token = "5e3c1d2b-0f7a-4b68-9c55-0123456789ab"
	f := NewFleet(t, FleetOptions{Nodes: 2, Settings: Settings{
		"ticket.accept_event_keys": true, "log.level": "trace", "consul.token": token,
	}})
	s := f.WatchSecrets(t)
	fromFile, fromEvent := make([]byte, 48), make([]byte, 80)
	rand.Read(fromFile)
	rand.Read(fromEvent)

	f.CLI(t, "rotate-ticket", "--wait").Want(t, 0)
	file := filepath.Join(f.Dir, "key")
	if err := os.WriteFile(file, fromFile, 0o600); err != nil {
		t.Fatal(err)
	}
	f.CLI(t, "rotate-ticket", "--wait", "--key-file", file).Want(t, 0)
	f.CLI(t, "rotate-ticket", "--wait", "--key-file", file).Want(t, 0)
	epoch := f.Status(t).Epoch
	// Whoever fires this event has to put the key on a command line: by the API.
	f.fire(t, "ssl-session-ticket-refresh", []byte(base64.StdEncoding.EncodeToString(fromEvent)))
	f.AwaitProved(t, epoch+2)
	input := `[{"ID":"1","Name":"ssl-session-ticket-refresh","Payload":"` + base64.StdEncoding.EncodeToString(fromEvent) + `","LTime":9}]`
	f.Nodes[0].CLIWithInput(t, input, "handle-event").Want(t, 0)
	bad := `[{"ID":"2","Name":"ssl-session-ticket-refresh","Payload":"` + base64.StdEncoding.EncodeToString(fromEvent[:79]) + `","LTime":9}]`
	f.Nodes[0].CLIWithInput(t, bad, "handle-event").Want(t, 0)
	f.Nodes[0].CLIWithInput(t, string(fromFile)+"more", "rotate-ticket", "--key-file", "-").Want(t, 2)
	f.CLI(t, "rotate-ticket", "--emergency").Want(t, 0)
	for _, args := range [][]string{{"status"}, {"status", "--format", "json"}, {"ticket", "show"}, {"ticket", "show", "--format", "json"}} {
		f.CLI(t, args...).Want(t, 0)
	}
	for _, n := range f.Nodes {
		n.Agent.Stop(t)
	}
	f.CLI(t, "restore").Want(t, 0)

	s.Add("key from the file", fromFile[16:32])
	s.Add("key from the event", fromEvent[16:48])
	if s.Count() < 16 {
		t.Errorf("collected %d secrets, want those of 8 keys at least", s.Count())
	}
	s.WantNone(t)
}

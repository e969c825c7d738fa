package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/inventory"
)

func TestDirectoryLetsNoNewsInMeanwhile(t *testing.T) {
	var d directory
	shard := func(e fleet.Entry) inventory.Shard {
		return inventory.Shard{Number: inventory.ShardOf(e.Name), Entries: []fleet.Entry{e}}
	}
	old := fleet.Entry{Name: "a.test", Bundle: fleet.Hash{1}}
	d.put(shard(old))
	put := make(chan struct{})
	var during fleet.Hash
	err := d.ifStill("a.test", old.Bundle, func() error {
		go func() {
			d.put(shard(fleet.Entry{Name: "a.test", Bundle: fleet.Hash{2}}))
			close(put)
		}()
		select {
		case <-put:
			t.Error("put() returned while ifStill() ran")
		case <-time.After(20 * time.Millisecond):
		}
		during, _ = d.names.get("a.test")
		return errors.New("done")
	})
	<-put
	if err == nil || during != old.Bundle {
		t.Errorf("ifStill() = %v with %v meanwhile, want its error and the old entry", err, during)
	}
	for name, hash := range map[string]fleet.Hash{"a.test": old.Bundle, "b.test": {}} {
		if err := d.ifStill(name, hash, func() error { return errors.New("called") }); err != nil {
			t.Errorf("ifStill(%s, %s) acts on what is not so any more", name, hash)
		}
	}
}

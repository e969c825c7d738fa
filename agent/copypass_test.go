package agent

import (
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// TestManifestThatSaysMoreIsWritten, and one that says the same is not.
func TestManifestThatSaysMoreIsWritten(t *testing.T) {
	was := archive.Manifest{At: time.Now(), Fleet: "f", Epoch: 1, Names: 1, Items: 1, Key: "k", Leaders: "l"}
	c := &copier{manifest: was}
	for name, change := range map[string]func(m *archive.Manifest){
		"epoch": func(m *archive.Manifest) { m.Epoch++ }, "names": func(m *archive.Manifest) { m.Names++ },
		"items": func(m *archive.Manifest) { m.Items++ }, "key": func(m *archive.Manifest) { m.Key = "" },
		"leaders":  func(m *archive.Manifest) { m.Leaders = "" },
		"a shard":  func(m *archive.Manifest) { m.Shards[7][0]++ },
		"a page":   func(m *archive.Manifest) { m.Pages[7][0]++ },
		"a record": func(m *archive.Manifest) { m.Records = map[string]archive.Digest{"ring": {1}} },
		"a loss":   func(m *archive.Manifest) { m.Lost = []fleet.Hash{{1}} },
	} {
		m := was
		if change(&m); !c.differs(m) {
			t.Errorf("differs() with another %s = false, want true", name)
		}
	}
	later := was
	if later.At = was.At.Add(time.Hour); c.differs(later) {
		t.Error("differs() an hour later = true, want false")
	}
	if fresh := (&copier{}); !fresh.differs(archive.Manifest{}) {
		t.Error("differs() without a manifest = false, want true")
	}
}

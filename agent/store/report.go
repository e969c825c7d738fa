package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// reportRecord is a report as sealed under nodes/<node>. The session ties it to
// Consul's lock on the key: a report put back after its session ended is
// refused. Fields that a newer agent adds are ignored; what changes the meaning
// of the others needs a new schema.
type reportRecord struct {
	Schema  int          `json:"schema"`
	Session string       `json:"session"`
	Report  fleet.Report `json:"report"`
}

func (s *Store) sealReport(node, session string, r fleet.Report) ([]byte, error) {
	if r.Node != node {
		return nil, fmt.Errorf("seal report of %s: it is of node %q", node, r.Node)
	}
	plain, err := json.Marshal(reportRecord{Schema: schema, Session: session, Report: r})
	if err != nil {
		return nil, fmt.Errorf("seal report of %s: %w", node, err)
	}
	epoch := uint64(max(time.Now().UnixNano(), 1))
	sealed, err := s.keyring.Seal(s.fleet, s.key(reportsPath+node), epoch, plain)
	if err != nil {
		return nil, fmt.Errorf("seal report of %s: %w", node, err)
	}
	return sealed, nil
}

func (s *Store) openReport(pair *api.KVPair) (fleet.Report, error) {
	plain, _, err := s.keyring.Open(s.fleet, pair.Key, pair.Value)
	if err != nil {
		return fleet.Report{}, err
	}
	var rec reportRecord
	if err := json.Unmarshal(plain, &rec); err != nil {
		return fleet.Report{}, err
	}
	switch {
	case rec.Schema != schema:
		return fleet.Report{}, fmt.Errorf("schema %d, this build knows %d: %w", rec.Schema, schema, ErrSchema)
	case rec.Report.Node != s.nodeOf(pair.Key):
		return fleet.Report{}, fmt.Errorf("it is of node %q", rec.Report.Node)
	case pair.Session == "":
		return fleet.Report{}, errors.New("no session holds it")
	case rec.Session != pair.Session:
		return fleet.Report{}, errors.New("it was made under another session")
	}
	return rec.Report, nil
}

package store

import "github.com/hashicorp/go-hclog"

// edge logs the changes between working and not working, not every try.
type edge struct {
	log      hclog.Logger
	lost     string
	restored string
	failing  bool
}

func (s *Store) edge(lost, restored string) *edge {
	return &edge{log: s.log, lost: lost, restored: restored}
}

func (e *edge) bad(err error) {
	if !e.failing {
		e.log.Warn(e.lost, "err", err)
	}
	e.failing = true
}

func (e *edge) good() {
	if e.failing {
		e.log.Info(e.restored)
	}
	e.failing = false
}

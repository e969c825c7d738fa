package store

import (
	"context"
	"fmt"
)

// Leader is the node that holds the leader lock, or "" if none does.
func (s *Store) Leader(ctx context.Context) (string, error) {
	q, cancel := read(ctx)
	defer cancel()
	pair, _, err := s.get(leaderPath, q)
	if err != nil || pair == nil || pair.Session == "" {
		return "", err
	}
	return string(pair.Value), nil
}

// Leads is nil if the session holds the leader lock now, else ErrFenced or why it
// is not known.
func (s *Store) Leads(ctx context.Context, session string) error {
	if _, err := s.commit(ctx, s.fence(session)); err != nil {
		return fmt.Errorf("look for the leader lock: %w", err)
	}
	return nil
}

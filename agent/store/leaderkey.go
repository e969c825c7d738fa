package store

import "context"

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

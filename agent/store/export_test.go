package store

import "github.com/tlsfleet/tlsfleet/agent/consul"

// SetPace makes the watches of s as fast as a test needs them.
func SetPace(s *Store, p consul.Pace) { s.pace = p }

// HeadRest is what WatchHead waits for after a head that was news.
const HeadRest = headRest

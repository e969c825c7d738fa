package fleet

// Event is a Consul user event as event/list or a watch handler shows it.
// Nothing in it is trusted: anyone with event:write can fire it.
type Event struct {
	ID      string
	Name    string
	Payload []byte
	LTime   uint64 // Lamport time of the gossip pool; starts over with a new pool
}

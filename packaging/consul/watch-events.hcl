# Consul's own watch as a way for events to reach tlsfleet, for Consul's
# configuration folder. Not needed while watch_events is true in tlsfleet.hcl;
# both together do the work once. The consul user must be able to use the
# agent's socket: socket_group = "consul" in tlsfleet.hcl.
watches = [
  {
    type         = "event"
    name         = "ssl-session-ticket-refresh"
    handler_type = "script"
    args         = ["/usr/bin/tlsfleet", "handle-event", "--socket", "/run/tlsfleet/agent.sock"]
  },
  {
    type         = "event"
    name         = "tlsfleet-rotate-ticket"
    handler_type = "script"
    args         = ["/usr/bin/tlsfleet", "handle-event", "--socket", "/run/tlsfleet/agent.sock"]
  }
]

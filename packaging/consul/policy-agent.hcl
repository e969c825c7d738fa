# Consul ACL rules: role agent of the fleet edge
# save this as FILE, then: consul acl policy create -name tlsfleet-edge-agent-edge-1 -rules @FILE
# and: consul acl token create -description tlsfleet-edge-agent-edge-1 -policy-name tlsfleet-edge-agent-edge-1
key "tlsfleet/edge/acme/answer" { policy = "read" }
key_prefix "tlsfleet/edge/acme/challenges/" { policy = "read" }
key_prefix "tlsfleet/edge/bundles/" { policy = "read" }
key_prefix "tlsfleet/edge/chains/" { policy = "read" }
key "tlsfleet/edge/inventory/head" { policy = "read" }
key_prefix "tlsfleet/edge/inventory/shards/" { policy = "read" }
key "tlsfleet/edge/keyring/nodes/edge-1" { policy = "read" }
key_prefix "tlsfleet/edge/nodes/" { policy = "read" }
key "tlsfleet/edge/nodes/edge-1" { policy = "write" }
key_prefix "tlsfleet/edge/reload/" { policy = "list" }
key_prefix "tlsfleet/edge/reload/slots/" { policy = "write" }
key_prefix "tlsfleet/edge/sites/" { policy = "read" }
key "tlsfleet/edge/tickets/ring" { policy = "read" }
key_prefix "tlsfleet/edge/waves/" { policy = "read" }
session "edge-1" { policy = "write" }
service "tlsfleet" { policy = "write" }
node_prefix "" { policy = "read" }
agent "edge-1" { policy = "read" }
event "ssl-session-ticket-refresh" { policy = "read" }
event "tlsfleet-rotate-ticket" { policy = "read" }

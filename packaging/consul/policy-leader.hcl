# Consul ACL rules: role leader of the fleet edge
# save this as FILE, then: consul acl policy create -name tlsfleet-edge-leader-edge-1 -rules @FILE
# and: consul acl token create -description tlsfleet-edge-leader-edge-1 -policy-name tlsfleet-edge-leader-edge-1
key "tlsfleet/edge/acme/account" { policy = "write" }
key "tlsfleet/edge/acme/answer" { policy = "write" }
key_prefix "tlsfleet/edge/acme/challenges/" { policy = "write" }
key_prefix "tlsfleet/edge/acme/ledgers/" { policy = "write" }
key_prefix "tlsfleet/edge/bundles/" { policy = "write" }
key_prefix "tlsfleet/edge/chains/" { policy = "write" }
key_prefix "tlsfleet/edge/intake/" { policy = "write" }
key_prefix "tlsfleet/edge/inventory/" { policy = "write" }
key_prefix "tlsfleet/edge/issuance/" { policy = "write" }
key "tlsfleet/edge/keyring/nodes/edge-1" { policy = "read" }
key "tlsfleet/edge/keyring/rotation" { policy = "read" }
key "tlsfleet/edge/keyring/state" { policy = "write" }
key "tlsfleet/edge/leader" { policy = "write" }
key "tlsfleet/edge/meta" { policy = "write" }
key_prefix "tlsfleet/edge/nodes/" { policy = "list" }
key "tlsfleet/edge/nodes/edge-1" { policy = "write" }
key_prefix "tlsfleet/edge/reload/" { policy = "list" }
key "tlsfleet/edge/reload/limit" { policy = "write" }
key_prefix "tlsfleet/edge/reload/slots/" { policy = "write" }
key_prefix "tlsfleet/edge/sites/" { policy = "read" }
key "tlsfleet/edge/tickets/ring" { policy = "write" }
key_prefix "tlsfleet/edge/waves/" { policy = "write" }
session "edge-1" { policy = "write" }
service "tlsfleet" { policy = "write" }
node_prefix "" { policy = "read" }
agent "edge-1" { policy = "read" }
event "ssl-session-ticket-refresh" { policy = "read" }
event "tlsfleet-rotate-ticket" { policy = "read" }

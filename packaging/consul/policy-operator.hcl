# Consul ACL rules: role operator of the fleet edge
# save this as FILE, then: consul acl policy create -name tlsfleet-edge-operator -rules @FILE
# and: consul acl token create -description tlsfleet-edge-operator -policy-name tlsfleet-edge-operator
key "tlsfleet/edge/acme/answer" { policy = "read" }
key_prefix "tlsfleet/edge/acme/ledgers/" { policy = "read" }
key_prefix "tlsfleet/edge/bundles/" { policy = "write" }
key_prefix "tlsfleet/edge/chains/" { policy = "write" }
key_prefix "tlsfleet/edge/intake/" { policy = "write" }
key_prefix "tlsfleet/edge/inventory/" { policy = "write" }
key_prefix "tlsfleet/edge/issuance/" { policy = "list" }
key_prefix "tlsfleet/edge/keyring/nodes/" { policy = "write" }
key "tlsfleet/edge/keyring/rotation" { policy = "write" }
key "tlsfleet/edge/keyring/state" { policy = "read" }
key "tlsfleet/edge/leader" { policy = "read" }
key "tlsfleet/edge/meta" { policy = "read" }
key_prefix "tlsfleet/edge/nodes/" { policy = "list" }
key_prefix "tlsfleet/edge/reload/" { policy = "list" }
key_prefix "tlsfleet/edge/sites/" { policy = "write" }
key "tlsfleet/edge/tickets/ring" { policy = "write" }
key "tlsfleet/edge/waves/current" { policy = "read" }
service "tlsfleet" { policy = "read" }
node_prefix "" { policy = "read" }

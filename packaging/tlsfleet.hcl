# Configuration of the tlsfleet agent, /etc/tlsfleet/tlsfleet.hcl.
#
# Only fleet has to be given. Every other line shows the default of one
# setting: remove the # to change it. "" means not given. Durations are texts
# with the units h, m, s and ms. Unknown names are errors. The agent follows
# changes of this file; one that it cannot use is logged and changes nothing.

# Name of the fleet, the same on all nodes that share ticket keys. Its state is
# in Consul KV under tlsfleet/<fleet>/.
fleet = "edge"

# Name of this node, unique in the fleet. Without it: the name of the host.
#node = ""

# Address registered in Consul. Without it: that of the Consul agent.
#address = ""

# Keys that seal everything tlsfleet writes to Consul, the same file on all
# nodes, mode 0600. Made by: tlsfleet keyring init, replaced by: tlsfleet keyring rotate
#keyring_file = "/etc/tlsfleet/keyring"

# What survives a reboot: rendered nginx configuration, sealed copy of the ring.
#state_dir = "/var/lib/tlsfleet"

# Ticket keys in clear for nginx, and the socket. Has to be on tmpfs, unless
# allow_persistent_keys is true: keys on a disk can outlive their deletion.
#run_dir = "/run/tlsfleet"
#allow_persistent_keys = false

# Unix socket for the command line and for Consul's watch handlers. Without it:
# agent.sock in run_dir. socket_group may hand over events there; adding and
# removing certificates is for the owner only: see domains_socket.
#socket = ""
#socket_group = ""

# The local Consul agent. What is not given here is taken from the CONSUL_*
# environment variables.
consul {
  # "host:port", "https://host:port" or "unix:///path". Consul's own default
  # is 127.0.0.1:8500.
  #address = ""
  #scheme = "" # "http" or "https"

  # The ACL token. A file keeps it out of this one; give one of the two.
  #token_file = ""
  #token = ""

  #datacenter = ""
  #namespace = ""
  #partition = ""

  # TLS to Consul.
  #ca_file = ""
  #ca_path = ""
  #cert_file = ""
  #key_file = ""
  #server_name = ""
  #tls_skip_verify = false

  # The node's health check turns critical when the agent is silent for so long.
  #service_ttl = "30s"
}

# The nginx of this host.
nginx {
  #binary = "/usr/sbin/nginx"
  #config_file = "/etc/nginx/nginx.conf"
  #pid_file = "/run/nginx.pid"

  # The folder of relative paths, for an nginx that is started with -p. Without
  # it the option of the running nginx counts, which is not there at boot.
  #prefix = ""

  # Listen sockets for which the release adds a default server that refuses
  # every handshake, so that renewing a certificate keeps its tickets valid.
  # Each is written as the parameters of listen: ["443 ssl", "[::]:443 ssl"].
  # No other server may be default_server on them.
  #default_servers = []

  # Loopback address on which nginx tells the number of the active release.
  #release_address = "127.0.0.1:9181"

  # A reload that is not proved by then is taken back.
  #verify_timeout = "30s"

  # Old workers hold old ticket keys in memory. After an emergency they are ended
  # when they have drained for so long; else nginx's worker_shutdown_timeout does.
  #old_worker_limit = "30s"

  # How often handshakes prove the active release again.
  #reprove_every = "60s"
}

# The session ticket keys. Rotation settings count on the leader: keep them the
# same on all nodes.
ticket {
  #rotate_every = "12h"

  # ssl_session_timeout: how long a ticket can be resumed.
  #session_timeout = "2h"

  # How long a node may take to apply a new ring without losing resumptions.
  #apply_lag = "15m"

  # When a node has not proved the ring by the deadline after a due rotation:
  # "hold" waits for it, "proceed" rotates without it. Both say so.
  #policy = "hold"
  #deadline = "1h"

  # Follow Consul events (tlsfleet-rotate-ticket, ssl-session-ticket-refresh).
  #watch_events = true

  # Adopt the key carried by ssl-session-ticket-refresh. Anyone with event:write
  # can then choose the fleet's keys, and event:read shows them.
  #accept_event_keys = false

  # How often this node takes a session ticket at its nginx and resumes with it at
  # that of another node, which its address has to reach. "never" turns that off.
  #resume_every = "1m"

  # Out of contact with Consul for so long, a node stops sealing with the ring
  # and nginx makes keys of its own. "never" turns that off.
  #stale_after = "72h"
}

# The fleet's certificates on this node. They are written to
# state_dir/live/<name>/{fullchain,privkey}.pem in every mode.
certificates {
  # How nginx comes by them. "files": servers of your own name the files, and
  # nginx is reloaded when a file that it holds changes. "variable": one rendered
  # server for all names, which reads the files at each handshake, so that a
  # renewal needs no reload. "static": one rendered server for each name. "auto"
  # chooses between the two by nginx's version and the number of names.
  # "on_demand": no servers, and only what nginx asks the gateway for is fetched
  # and kept.
  #mode = "files"

  # With variable: "listed" lets in the names of the inventory in any case, and
  # needs a reload for each new name; "open" needs none, for very many names.
  #names = "listed"

  # Where the rendered servers listen, and the file with what they do: locations,
  # proxy_pass and so on.
  #listen = []
  #server_include = ""

  # Group that may read private keys. Without it: that of nginx's user directive.
  #worker_group = ""

  # When more of the names than this go at once, this node keeps them all until a
  # person raises the limit.
  #max_loss_percent = 50

  # How long a replaced certificate stays on disk for handshakes in flight.
  #keep_replaced = "1m"

  # Unix socket on which nginx asks for certificates in Lua
  # (packaging/nginx/tlsfleet.lua): GET /v1/certificates/<name>. It answers with
  # private keys, to root and gateway_group. Without a group: worker_group.
  #gateway_socket = ""
  #gateway_group = ""

  # Disk space for what on_demand keeps. What was not asked for the longest goes first.
  #on_demand_mib = 256
}

# Sites: virtual hosts that "tlsfleet site set" puts into Consul (docs/sites.md).
sites {
  # A change goes to canaries first. Once they have proved it by handshake and by
  # asking for a page, all nodes follow; what fails there is halted. The same on all
  # nodes: one with false takes every change at once. The two settings below count
  # on the nodes that may lead.
  #waves = true

  # How many nodes are canaries: a number, or a percentage of those in service.
  #canary = "1"

  # For a canary to serve the change, and as long to prove it. Then another one
  # takes its place.
  #prove_within = "2m"

  # Files that sites name: snippets, and CA files for client certificates. Keep
  # them the same on all nodes; a change is followed at once.
  #snippets_dir = "/etc/tlsfleet/snippets"

  # A site.conf here takes the place of tlsfleet's own template.
  #templates_dir = "/etc/tlsfleet/templates"
}

# Certificates that the leader obtains and renews by ACME. It needs at least one
# CA:
#
#   ca "letsencrypt" {
#     directory = "https://acme-v02.api.letsencrypt.org/directory"
#   }
#
# Several are asked in the order of the file, the next one when one is down. A ca
# block may also have staging (the directory of the CA's test environment, where
# what has failed three times is obtained first), root_file (roots of the CA's own HTTPS), eab_key_id and
# eab_key_file (external account binding), and the CA's limits, by default those
# of Let's Encrypt: order_limit = "300/3h", domain_limit = "50/168h",
# set_limit = "5/168h", failure_limit = "5/1h"; each may be "none". And how many
# names it takes into one certificate of a profile, where that is less than 100:
# profile_names = { tlsserver = 25, shortlived = 25 }.
acme {
  # Where a rendered server answers HTTP-01 challenges and sends everything else to
  # HTTPS: ["80", "[::]:80"]. Names that servers of your own have there stay theirs:
  # write include /var/lib/tlsfleet/nginx/current/acme-*.inc; into those, below
  # state_dir, and keep the asterisk, because the file comes with the account.
  #http_listen = []

  # Who answers challenges: "stateless", each nginx by itself, also with the agents
  # and Consul away; or "agent", nginx asks the agent of its host there, which reads
  # Consul. The same on every host.
  #http01 = "stateless"
  #challenge_address = "127.0.0.1:9182"

  # Before a CA is asked, each name has to be seen to lead here, by its address in
  # DNS and, with preflight_nodes, by that of each node.
  #preflight = true
  #preflight_nodes = false

  # DNS server for that and for DNS-01, "host:port". Without it: the host's.
  #resolver = ""

  # Port at which challenges come in from outside.
  #http_port = 80

  # Certificates worked on at a time.
  #parallel = 32

  # Of the account: ["mailto:ops@example.org"].
  #contact = []

  # Unix socket by which root and domains_group may have certificates obtained,
  # renewed and removed (docs/acme.md), such as "/run/tlsfleet/domains.sock".
  # Without it: root only, by the agent's socket.
  #domains_socket = ""
  #domains_group = ""
}

# Wildcards, and other names in the domains of a dns block, are proved by records in
# DNS (DNS-01), which the leader sets through a provider of lego's. The settings
# are the environment variables in lego's documentation; NAME_FILE names a file
# with the value of NAME. Any number of them, on every host that may lead:
#
#   dns "corp" {
#     provider = "rfc2136"  # exec, httpreq, acme-dns, cloudflare
#     domains  = ["example.org", "example.net"]  # ["*"]: all names
#     settings = {
#       DNSUPDATE_NAMESERVER       = "10.0.0.53"
#       DNSUPDATE_TSIG_ALGORITHM   = "hmac-sha256."
#       DNSUPDATE_TSIG_KEY         = "tlsfleet."
#       DNSUPDATE_TSIG_SECRET_FILE = "/etc/tlsfleet/tsig"
#     }
#   }
#
# Also settings_file (more settings, NAME=value in each line), wildcards_only = true
# (other names by HTTP-01), propagation = "2m" (how long name servers may take to
# show a record, or "never" to wait) and nameservers = ["10.0.0.53:53"] (asked for
# the record instead of those of the zone).

# The leader tells others what happens to certificates and which nodes raise
# alarms: webhooks, signed by a key of 16 bytes or more, and programs, which get
# the event as JSON on standard input. Any number of them:
#
#   notify "blog" {
#     webhook = "https://blog.example.org/hooks/tls"
#     key_file = "/etc/tlsfleet/blog.key"
#     kinds = ["certificate.issued", "certificate.parked"]  # default: all
#   }
#   notify "mail" {
#     command = ["/usr/local/bin/mail-event"]
#   }
#
# kinds: certificate.issued, .renewed, .failed, .parked, .expiring, node.problem.
# A webhook on an address that is not public needs allow_private = true.

# Copies of the fleet outside Consul, which the leader keeps up to date: certificates,
# sites, ACME account and journal, sealed as they are in Consul. tlsfleet restore-fleet puts
# them back (docs/operations.md, "Copies outside Consul"). Any number of them, the
# same on every host that may lead:
#
#   archive "disk" {
#     directory = "/var/backups/tlsfleet"
#   }
#   archive "offsite" {
#     endpoint = "s3.example.org"        # host or host:port, by HTTPS
#     bucket = "backups"
#     prefix = "tlsfleet/edge"           # default: the name of the fleet
#     region = "eu-central-1"
#     access_key_file = "/etc/tlsfleet/s3.id"
#     secret_key_file = "/etc/tlsfleet/s3.key"
#   }
#   archive "database" {
#     dsn_file = "/etc/tlsfleet/postgres.dsn"  # host=... dbname=... user=... password=...
#   }
#
# With S3, ca_file names the roots of an endpoint of your own; insecure = true is for
# one on loopback without TLS. Files with secrets are readable by their owner only.

# The pace of nginx reloads. The first four may be "0s".
reload {
  # Upper bound of the random delay before a reload.
  #splay = "5s"

  # Changes are gathered until none came for quiet, but for max_quiet at most.
  #quiet = "500ms"
  #max_quiet = "5s"

  # Between two reloads.
  #min_interval = "10s"

  # No more of the nodes in service than this reload at once: a percentage, rounded
  # down, or a number such as "2"; always at least one. The leader's value counts.
  # "100%": no limit. A node that found no place for slot_wait reloads all the same.
  #max_share = "25%"
  #slot_wait = "5m"
}

# Where the keyring is from. With "consul" the operator wraps it for each node
# (tlsfleet node admit), and no file is brought to hosts; see docs/operations.md.
keyring {
  # "file": keyring_file is brought here by a person. "consul": the agent takes the
  # keyring from Consul and keeps it, in state_dir unless keyring_file is given.
  #from = "file"

  # This node's identity. Without it: node.age in state_dir, made at the first start.
  #identity_file = ""

  # Whose keyrings this node takes: what tlsfleet node operator prints. Needed with "consul".
  #operator = ""

  # On the operator's host only: the private part of that. Beside it is the register of
  # admitted nodes, with the name of the fleet at its end.
  #operator_key_file = "/etc/tlsfleet/operator.key"
}

# Elections. The leader rotates the keys.
leader {
  # false: this node never leads.
  #eligible = true

  # A keyring that only hosts have that may lead (tlsfleet keyring init --leader).
  # With it the ACME account key and the private keys of orders under way are sealed.
  # Without it: keyring_file does that too. Give it to all of them, then set it.
  #keyring_file = ""

  # Without contact to Consul for so long, a leader steps down. 10s to 24h.
  #ttl = "15s"
}

# Where this agent tells how it is: a dashboard at /, /metrics for Prometheus,
# /healthz, /readyz.
# Nothing can be changed there.
http {
  # IP address and port; "" for none.
  #address = "127.0.0.1:9180"

  # Beyond loopback it has to be HTTPS, and a client gives a certificate issued by
  # client_ca_file, or the token (as bearer token, or as the password of any user).
  #cert_file = ""
  #key_file = ""
  #client_ca_file = ""
  #token_file = ""
}

log {
  #level = "info" # trace, debug, info, warn, error
  #format = "text" # text, json
}

package config

import "time"

const day = 24 * time.Hour

// block is a block of the file; the one without a name is the file itself.
type block struct {
	name  string
	attrs []attribute
}

// layout is the whole grammar of the file, bound to the fields of c.
func layout(c *Config) []block {
	return []block{
		{"", []attribute{
			required("fleet", &c.Fleet, isName),
			optional("node", &c.Node, isName),
			optional("address", &c.Address, isHost),
			required("keyring_file", &c.KeyringFile, isPath),
			required("state_dir", &c.StateDir, isNginxPath),
			required("run_dir", &c.RunDir, isNginxPath),
			flag("allow_persistent_keys", &c.AllowPersistentKeys),
			optional("socket", &c.Socket, isSocketPath),
			optional("socket_group", &c.SocketGroup, isName),
		}},
		{"consul", consulLayout(&c.Consul)},
		{"nginx", nginxLayout(&c.Nginx)},
		{"ticket", ticketLayout(&c.Ticket)},
		{"certificates", certificatesLayout(&c.Certificates)},
		{"sites", []attribute{
			flag("waves", &c.Sites.Waves),
			share("canary", &c.Sites.Canary),
			span("prove_within", &c.Sites.ProveWithin, time.Second, day),
			required("templates_dir", &c.Sites.TemplatesDir, isPath),
			required("snippets_dir", &c.Sites.SnippetsDir, isNginxPath),
		}},
		{"acme", acmeLayout(&c.ACME)},
		{"reload", []attribute{
			span("splay", &c.Reload.Splay, 0, time.Hour),
			span("quiet", &c.Reload.Quiet, 0, time.Minute),
			span("max_quiet", &c.Reload.MaxQuiet, 0, time.Hour),
			span("min_interval", &c.Reload.MinInterval, 0, time.Hour),
			share("max_share", &c.Reload.MaxShare),
			span("slot_wait", &c.Reload.SlotWait, time.Second, time.Hour),
		}},
		{"leader", []attribute{
			flag("eligible", &c.Leader.Eligible),
			optional("keyring_file", &c.Leader.KeyringFile, isPath),
			// Consul refuses session TTLs outside of these.
			span("ttl", &c.Leader.TTL, 10*time.Second, day),
		}},
		{"http", httpLayout(&c.HTTP)},
		{"keyring", keyringLayout(&c.Keyring)},
		{"log", []attribute{
			oneOf("level", &c.Log.Level, "trace", "debug", "info", "warn", "error"),
			oneOf("format", &c.Log.Format, "text", "json"),
		}},
	}
}

func consulLayout(c *Consul) []attribute {
	return []attribute{
		optional("address", &c.Address, isConsulAddress),
		oneOf("scheme", &c.Scheme, "http", "https", ""),
		secret("token", &c.Token),
		optional("token_file", &c.TokenFile, isPath),
		optional("datacenter", &c.Datacenter, isName),
		optional("namespace", &c.Namespace, isName),
		optional("partition", &c.Partition, isName),
		optional("ca_file", &c.CAFile, isPath),
		optional("ca_path", &c.CAPath, isPath),
		optional("cert_file", &c.CertFile, isPath),
		optional("key_file", &c.KeyFile, isPath),
		optional("server_name", &c.ServerName, isHost),
		flag("tls_skip_verify", &c.TLSSkipVerify),
		// Also the TTL of the report's session: Consul refuses shorter ones.
		span("service_ttl", &c.ServiceTTL, 10*time.Second, day),
	}
}

func nginxLayout(n *Nginx) []attribute {
	return []attribute{
		required("binary", &n.Binary, isPath),
		required("config_file", &n.ConfigFile, isPath),
		required("pid_file", &n.PIDFile, isPath),
		optional("prefix", &n.Prefix, isPath),
		list("default_servers", &n.DefaultServers, isTLSListen),
		required("release_address", &n.ReleaseAddress, isLoopback),
		span("verify_timeout", &n.VerifyTimeout, time.Second, time.Hour),
		span("old_worker_limit", &n.OldWorkerLimit, time.Second, day),
		span("reprove_every", &n.ReproveEvery, time.Second, day),
	}
}

func ticketLayout(t *Ticket) []attribute {
	return []attribute{
		span("rotate_every", &t.RotateEvery, time.Second, 30*day),
		// RFC 8446, section 4.6.1: no ticket lives longer than seven days.
		span("session_timeout", &t.SessionTimeout, time.Second, 7*day),
		span("apply_lag", &t.ApplyLag, 0, 7*day),
		oneOf("policy", &t.Policy, PolicyHold, PolicyProceed),
		span("deadline", &t.Deadline, time.Second, 30*day),
		flag("accept_event_keys", &t.AcceptEventKeys),
		flag("watch_events", &t.WatchEvents),
		spanOrNever("resume_every", &t.ResumeEvery, time.Second, day),
		spanOrNever("stale_after", &t.StaleAfter, time.Second, 365*day),
	}
}

func certificatesLayout(c *Certificates) []attribute {
	return []attribute{
		oneOf("mode", &c.Mode, CertFiles, CertAuto, CertVariable, CertStatic, CertOnDemand),
		oneOf("names", &c.Names, NamesOpen, NamesListed),
		list("listen", &c.Listen, isTLSListen),
		optional("server_include", &c.ServerInclude, isNginxPath),
		optional("worker_group", &c.WorkerGroup, isName),
		number("max_loss_percent", &c.MaxLossPercent, 0, 100),
		span("keep_replaced", &c.KeepReplaced, time.Second, day),
		optional("gateway_socket", &c.GatewaySocket, isSocketPath),
		optional("gateway_group", &c.GatewayGroup, isName),
		number("on_demand_mib", &c.OnDemandMiB, 1, 1<<20),
	}
}

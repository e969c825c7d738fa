package config

import (
	"path/filepath"

	"github.com/tlsfleet/tlsfleet/agent/seal"
)

func keyringLayout(k *Keyring) []attribute {
	return []attribute{
		oneOf("from", &k.From, KeyringFile, KeyringConsul),
		optional("identity_file", &k.IdentityFile, isPath),
		optional("operator", &k.Operator, isOperatorKey),
		required("operator_key_file", &k.OperatorKeyFile, isPath),
	}
}

func isOperatorKey(s string) *mistake {
	if _, err := seal.ParseOperatorKey(s); err != nil {
		return &mistake{err.Error(), "write what `tlsfleet node operator` prints on the operator's host"}
	}
	return nil
}

// checkKeyring fills in where a node keeps what it gets from Consul.
func (r *reader) checkKeyring() {
	k := &r.cfg.Keyring
	if k.IdentityFile == "" {
		k.IdentityFile = filepath.Join(r.cfg.StateDir, "node.age")
	}
	if k.From != KeyringConsul || !r.sound("keyring.from", "keyring.operator") {
		return
	}
	if k.Operator == "" {
		r.add(r.line("keyring.from"), `keyring.from "consul" needs keyring.operator`,
			"write the key that `tlsfleet node operator` prints on the operator's host: without it anybody who can write to Consul could give this node a keyring")
	}
	if !r.given("keyring_file") {
		r.cfg.KeyringFile = filepath.Join(r.cfg.StateDir, "keyring")
	}
}

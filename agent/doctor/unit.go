package doctor

// Unit is what makes a host ready for nginx at boot.
type Unit struct {
	Systemd bool   // it runs this host
	Name    string // of the unit that runs tlsfleet restore; empty: there is none
	Enabled bool
	Before  bool // it says Before=nginx.service
	Err     error
}

// Judge gives the finding "restore".
func (u Unit) Judge() Finding {
	const id = "restore"
	const mend = "install tlsfleet-restore.service as docs/operations.md, \"Boot\", shows, and systemctl enable it"
	switch {
	case u.Err != nil:
		return unseen(id, u.Err)
	case !u.Systemd:
		return skipped(id, "have tlsfleet restore run before nginx at boot", "systemd does not run this host")
	case u.Name == "":
		return failure(id, mend, "no unit runs tlsfleet restore: after a reboot nginx finds no ticket keys and does not start")
	case !u.Enabled:
		return failure(id, "systemctl enable "+u.Name, "%s is not enabled: after a reboot nginx finds no ticket keys and does not start", u.Name)
	case !u.Before:
		return warning(id, "Before=nginx.service in "+u.Name, "%s does not say that it comes before nginx", u.Name)
	}
	return ok(id, "%s makes ticket keys at boot", u.Name)
}

// Package renderer carries a release out on this host: it writes ticket key
// files and nginx configuration, tests them, activates them with one rename,
// reloads nginx, proves from outside what nginx serves, and takes a release
// back that nginx does not serve. It is the one place that runs nginx.
//
// Certificates are files beside the releases: immutable bundles in
// StateDir/store and one link for each name in StateDir/live, which nginx
// follows at each handshake (TLSVariable) or reads at each reload (TLSStatic).
//
// It does not know Consul and does not decide when or what to apply. What it
// has to remember is on disk, so that a process killed between any two steps
// is repaired by Recover.
//
// The way of a release:
//
//	key files -> staged folder -> own checks -> nginx -t on the staged tree
//	-> flip of the symlink current -> HUP -> new workers -> GET /release
//	-> handshakes -> flip of the symlink good
package renderer

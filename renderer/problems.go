package renderer

import (
	"fmt"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// Codes of the problems this package reports.
const (
	CodeIncludeMissing     = "include-missing"      // nginx does not read our release
	CodeKeyHidden          = "ticket-key-hidden"    // an ssl_session_ticket_key of the operator seals instead
	CodeConfigUnparsed     = "config-unparsed"      // nginx's configuration was not understood in full
	CodeListenerUnproved   = "listener-unproved"    // a handshake did not show the key of the release
	CodeReleaseUnserved    = "release-not-served"   // GET /release does not answer the active release
	CodeReleaseRejected    = "release-rejected"     // nginx -t refused a release
	CodeReleaseRolledBack  = "release-rolled-back"  // a release was taken back
	CodeNginxNotRunning    = "nginx-not-running"    // no nginx to prove anything with
	CodeKeysMissing        = "ticket-keys-missing"  // key files of the active release are gone
	CodeOldWorkers         = "old-workers"          // old workers outlived an urgent release
	CodeConfigRefused      = "nginx-config-refused" // nginx could not start from its configuration
	CodeNginxMisidentified = "nginx-pid-file"       // the pid file names something else
	CodeSizesLate          = "map-hash-late"        // the size of nginx's map tables is set after our include
	CodeCertificateMissing = "certificate-missing"  // a name to be served statically has no live certificate
)

func problem(code string, s fleet.Severity, message, hint string) fleet.Problem {
	return fleet.Problem{Code: code, Severity: s, Message: message, Hint: hint, Since: time.Now().UTC().Truncate(time.Second)}
}

func (r *Renderer) includeMissing() fleet.Problem {
	return problem(CodeIncludeMissing, fleet.Alarm,
		fmt.Sprintf("the http block of %s does not include the releases of tlsfleet", r.cfg.ConfigFile),
		fmt.Sprintf("add this line to the http block, before any server: %s", r.cfg.IncludeLine()))
}

func unparsed(why error) fleet.Problem {
	return problem(CodeConfigUnparsed, fleet.Alarm, "nginx's configuration cannot be read in full: "+why.Error(),
		"nothing is proved until every listener is known")
}

func keysMissing(files []string) fleet.Problem {
	return problem(CodeKeysMissing, fleet.Alarm,
		"ticket key files are gone: "+strings.Join(files, ", "), "nginx cannot be started until the ring is restored")
}

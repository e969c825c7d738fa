package e2e

import (
	encoding "encoding/binary"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// defaultACL is the access list that new files in a folder begin with (acl(5)).
const defaultACL = "system.posix_acl_default"

// denyNew lets a user not read what is written below a folder from now on,
// whatever owner, group and mode say.
func denyNew(t *testing.T, dir, name string) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	const nobody = ^uint32(0)
	list := encoding.LittleEndian.AppendUint32(nil, 2) // version; then tag, rights and id of each (linux/posix_acl_xattr.h)
	for _, e := range []struct {
		tag, rights uint16
		id          uint32
	}{{0x01, 7, nobody}, {0x02, 0, uint32(uid)}, {0x04, 5, nobody}, {0x10, 5, nobody}, {0x20, 5, nobody}} {
		list = encoding.LittleEndian.AppendUint16(list, e.tag)
		list = encoding.LittleEndian.AppendUint16(list, e.rights)
		list = encoding.LittleEndian.AppendUint32(list, e.id)
	}
	if err := syscall.Setxattr(dir, defaultACL, list, 0); errors.Is(err, syscall.ENOTSUP) {
		t.Skipf("the file system of %s has no access lists", dir)
	} else if err != nil {
		t.Fatal(err)
	}
}

// TestKeyThatNoWorkerReadsIsTakenBack renews one name and adds another while
// nginx's workers cannot read new files. What knows of certificates on the node
// knows that they are in quarantine.
func TestKeyThatNoWorkerReadsIsTakenBack(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("nginx gives its workers another user only as root")
	}
	o := onShared(t, 1, open)
	o.Nginx = func(_ int, o *testkit.NginxOptions) { o.User = workers }
	f, ca := newCertFleet(t, o), newCA(t)
	n := f.Nodes[0]
	if err := os.Chmod(filepath.Dir(n.Nginx.Dir), 0o755); err != nil { // workers pass through it
		t.Fatal(err)
	}
	n.Agent.Stop(t)
	n.Settings["certificates.gateway_socket"] = n.gatewaySocket()
	n.WriteConfig(t)
	n.StartAgent(t)
	kept, other := ca.Issue(t, 30, "kept.test"), ca.Issue(t, 30, "other.test")
	f.Import(t, kept, other)
	f.AwaitServed(t, ca, "kept.test", kept, n)
	f.AwaitServed(t, ca, "other.test", other, n)
	n.AwaitNoProblem(t)

	store := filepath.Join(n.StateDir, "store")
	denyNew(t, store, workers)
	bad, added := ca.Issue(t, 60, "kept.test"), ca.Issue(t, 60, "new.test")
	f.Import(t, bad, added)
	n.AwaitQuarantine(t, 2, "kept.test is not served", "new.test is not served")
	f.AwaitServed(t, ca, "kept.test", kept, n)
	f.WantServed(t, ca, "beside two in quarantine", "other.test", other, n)
	f.AwaitRefused(t, ca, "new.test", n)
	n.AwaitGiven(t, "kept.test", 200, kept)
	n.AwaitGiven(t, "new.test", 502, Leaf{})
	n.wantPlanned(t, "in quarantine", "2 names: kept.test is not served")

	if err := syscall.Removexattr(store, defaultACL); err != nil {
		t.Fatal(err)
	}
	f.Import(t, bad, added) // the same are not tried again
	f.AwaitServed(t, ca, "kept.test", kept, n)
	p := n.Plan(t, 0, "--import", folder(t, bad))
	p.want(t, "of importing what is in quarantine", PlanCount{Nothing: 1})
	n.AwaitQuarantine(t, 2)
	kept, added = ca.Issue(t, 90, "kept.test"), ca.Issue(t, 90, "new.test")
	n.Plan(t, 0, "--import", folder(t, kept, added)).want(t, "of importing others", PlanCount{Files: 2})
	f.Import(t, kept, added)
	f.AwaitServed(t, ca, "kept.test", kept, n)
	f.AwaitServed(t, ca, "new.test", added, n)
	n.AwaitGiven(t, "new.test", 200, added)
	n.AwaitNoProblem(t)
	n.wantPlanned(t, "after it", "")
}

// wantPlanned fails the test unless the node has nothing to do and its plan
// tells of what is in quarantine, or of nothing.
func (n *Node) wantPlanned(t *testing.T, when, tells string) {
	t.Helper()
	p := n.Plan(t, 0)
	p.want(t, when, PlanCount{})
	told := len(p.Problems) == 1 && p.Problems[0].Code == "certificate-quarantined" && strings.Contains(p.Problems[0].Message, tells)
	if tells == "" && len(p.Problems) > 0 || tells != "" && !told {
		t.Errorf("plan %s tells of %+v, want %q", when, p.Problems, tells)
	}
}

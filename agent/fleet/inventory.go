package fleet

import "time"

// Source says where a certificate comes from.
type Source string

// Where certificates come from.
const (
	SourceImport Source = "import" // an operator's; never renewed here
	SourceACME   Source = "acme"   // obtained and renewed by the leader
)

// Entry is what the inventory knows of one domain name. Package inventory
// makes, changes and checks entries.
type Entry struct {
	Name     string    // in the form of CheckDomain
	Bundle   Hash      // what the name is served with
	NotAfter time.Time // end of the leaf's validity, whole seconds UTC
	Source   Source
	Issuer   string    // common name of the leaf's issuer, for lists; may be empty
	Removed  bool      // a tombstone: only Name and Changed are set
	Changed  time.Time // when the entry was written, whole seconds UTC
}

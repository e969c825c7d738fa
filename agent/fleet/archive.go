package fleet

import "time"

// Archive is how far the copy in one archive is, as the leader sees it.
type Archive struct {
	Name    string    `json:"name"`
	Copied  time.Time `json:"copied,omitzero"`   // all that was in Consul then is in the copy; zero: this leader has not seen that yet
	Since   time.Time `json:"since,omitzero"`    // of the first change that is not; zero: all is copied
	Pending int       `json:"pending,omitempty"` // objects that are known to wait: at least one while there is such a change
	Err     string    `json:"err,omitempty"`     // why the last try failed; empty: it did not
}

// Lag is for how long a change has not been copied, in whole seconds: at least one
// while there is such a change, 0 if all is copied.
func (a Archive) Lag(now time.Time) time.Duration {
	if a.Since.IsZero() {
		return 0
	}
	return max(now.Sub(a.Since).Truncate(time.Second), time.Second)
}

// Same reports whether two looks at one archive say the same to a person: it is
// behind or not, and fails or not.
func (a Archive) Same(b Archive) bool {
	return a.Name == b.Name && a.Since.IsZero() == b.Since.IsZero() && (a.Err == "") == (b.Err == "")
}

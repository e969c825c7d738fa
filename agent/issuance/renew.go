package issuance

import (
	"encoding/binary"
	"encoding/hex"
	"time"
)

// Window is a renewal window that a CA suggested (RFC 9773, section 4.2).
type Window struct {
	Start, End time.Time
	Chosen     time.Time // a random time in it, chosen once and kept
	Check      time.Time // ask the CA again then
}

// Bounds of the time after which a CA is asked again (RFC 9773, section 4.3.2
// and 4.3.3), and the wait when it says nothing.
const (
	leastPoll = time.Minute
	usualPoll = 6 * time.Hour

	// MostPoll is the longest of these waits.
	MostPoll = 24 * time.Hour
)

// short is the lifetime below which a certificate is renewed after half of it,
// as CAs ask for those of six days.
const short = 10 * 24 * time.Hour

// RenewAt is when to renew a certificate for which no CA has suggested a
// window: after two thirds of its lifetime, or after half of a short one,
// spread over a tenth of it by the item's ID so that certificates obtained
// together are not renewed together.
func RenewAt(id string, notBefore, notAfter time.Time) time.Time {
	life := notAfter.Sub(notBefore)
	at := life * 2 / 3
	if life < short {
		at = life / 2
	}
	return whole(notBefore.Add(at - time.Duration(float64(life)/10*place(id))))
}

// place is where an item stands in [0, 1), the same every time.
func place(id string) float64 {
	var b [8]byte
	if _, err := hex.Decode(b[:], []byte(id[:min(len(id), 16)])); err != nil {
		return 0
	}
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53)
}

// Suggest takes a window from a CA's answer. before is the one known so far: a
// window that has not changed keeps its chosen time. u in [0, 1) chooses in a
// new one. retryAfter is when the CA wants to be asked again; 0 if it does not
// say. A window that ends before it begins is no answer (RFC 9773, section
// 4.2): ok is false.
func Suggest(start, end time.Time, before *Window, retryAfter time.Duration, u float64, now time.Time) (w Window, ok bool) {
	start, end = whole(start), whole(end)
	if !start.Before(end) || start.Unix() <= 0 {
		return Window{}, false
	}
	poll := usualPoll
	if retryAfter > 0 {
		poll = min(max(retryAfter, leastPoll), MostPoll)
	}
	w = Window{Start: start, End: end, Check: whole(now.Add(poll))}
	if before != nil && before.Start.Equal(start) && before.End.Equal(end) {
		w.Chosen = before.Chosen
		return w, true
	}
	w.Chosen = whole(start.Add(time.Duration(u * float64(end.Sub(start)))))
	return w, true
}

// Suggested plans the renewal of an issued item by a window that its CA has
// suggested. A window that is known already and over puts nothing off: however
// often a CA repeats it, the time chosen first stands.
func (it Item) Suggested(w Window, now time.Time) (Item, error) {
	if it.State != Issued || it.Cert == nil {
		return it, it.wrong("plan renewal of")
	}
	c := *it.Cert
	c.Window = &w
	at := RenewBy(it.ID(), c, now)
	if old := it.Cert.Window; old != nil && old.Start.Equal(w.Start) && old.End.Equal(w.End) && it.Next.Before(at) {
		at = it.Next
	}
	return it.Renew(&w, at)
}

// stormSpread is over how long renewals are spread that are all due at once.
const stormSpread = time.Hour

// RenewBy is when to renew a certificate: at the time chosen in the window that
// the CA suggested. If that has passed, the CA wishes it now; because it may
// wish so of all certificates at once, they are spread over the hour ahead. A
// window beyond the certificate's end is no help, nor is none: see RenewAt.
func RenewBy(id string, c Cert, now time.Time) time.Time {
	if c.Window == nil {
		return RenewAt(id, c.NotBefore, c.NotAfter)
	}
	at := c.Window.Chosen
	if !at.Before(c.NotAfter) {
		return RenewAt(id, c.NotBefore, c.NotAfter)
	}
	if at.Before(now) {
		spread := min(stormSpread, max(c.NotAfter.Sub(now)/4, 0))
		return whole(now.Add(time.Duration(float64(spread) * place(id))))
	}
	return at
}

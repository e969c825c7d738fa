// Package notify tells others what has happened: webhooks and programs. Nothing
// here delays the caller; what cannot be delivered is tried again for a bounded
// time, out of a bounded queue. It does not know what the events mean.
package notify

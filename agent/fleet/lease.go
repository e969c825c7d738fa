package fleet

import "context"

type leaseKey struct{}

// WithLease is a context of which Leased asks whether the lease still lasts.
func WithLease(ctx context.Context, lasts func() error) context.Context {
	return context.WithValue(ctx, leaseKey{}, lasts)
}

// Leased is nil while ctx and the lease that it was made with last. A process
// that was frozen goes on where it stopped, and may do so before anything has
// ended its contexts: what must not be done without the lease asks the clock
// first.
func Leased(ctx context.Context) error {
	if lasts, ok := ctx.Value(leaseKey{}).(func() error); ok {
		if err := lasts(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

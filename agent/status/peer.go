package status

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	"golang.org/x/sys/unix"
)

// peerKey is where withPeer keeps the user id.
type peerKey struct{}

// withPeer notes the user at the other end of a unix socket (SO_PEERCRED,
// unix(7)).
func withPeer(ctx context.Context, c net.Conn) context.Context {
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || credErr != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, cred.Uid)
}

// ownerOnly keeps everybody but root and the agent's own user out, and tells them
// why. The group of the agent's socket hands over events, and has no use for
// private keys, nor any business with what is obtained.
func ownerOnly(why string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uid, known := r.Context().Value(peerKey{}).(uint32)
		if !known || uid != 0 && int(uid) != os.Geteuid() {
			answer(w, http.StatusForbidden, problem{why})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// peer names who asks, for logs.
func peer(r *http.Request) string {
	uid, known := r.Context().Value(peerKey{}).(uint32)
	if !known {
		return "somebody"
	}
	return fmt.Sprintf("user %d", uid)
}

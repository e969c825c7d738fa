package testkit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Ports come in blocks below the kernel's range for outgoing connections, so
// that no connection takes a port between its choice and its use. A process
// holds a block by listening on its first port on 127.0.0.1.
const (
	blockSize = 64
	lowest    = 10000
	tries     = 500
)

var ports struct {
	mu    sync.Mutex
	held  []net.Listener // one per block, kept until the process ends
	spare []int          // free ports of the held blocks, the longest unused first
}

// FreePort is a port on which nobody listens on ip, TCP or UDP. No other call,
// in this process or another, gets the same number until tb ends.
func FreePort(tb TB, ip string) int {
	tb.Helper()
	port, err := takePort(ip)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() { releasePort(port) })
	return port
}

func takePort(ip string) (int, error) {
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for range tries {
		if len(ports.spare) == 0 {
			if err := takeBlock(); err != nil {
				return 0, fmt.Errorf("find free port on %s: %w", ip, err)
			}
		}
		port := ports.spare[0]
		ports.spare = ports.spare[1:]
		if free(ip, port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find free port on %s: %d are in use", ip, tries)
}

func releasePort(port int) {
	ports.mu.Lock()
	defer ports.mu.Unlock()
	ports.spare = append(ports.spare, port)
}

// takeBlock adds the ports of a block nobody holds; the caller holds the lock.
func takeBlock() error {
	highest, err := firstEphemeral()
	if err != nil {
		return err
	}
	blocks := (highest - lowest) / blockSize
	var last error
	var lc net.ListenConfig
	for _, b := range rand.Perm(blocks) { //nolint:gosec // any order will do
		first := lowest + b*blockSize
		l, err := lc.Listen(context.Background(), "tcp", address("127.0.0.1", first))
		if err != nil {
			last = err
			continue
		}
		ports.held = append(ports.held, l)
		for p := first + 1; p < first+blockSize; p++ {
			ports.spare = append(ports.spare, p)
		}
		return nil
	}
	return fmt.Errorf("hold a block of ports: all %d are held: %w", blocks, last)
}

// firstEphemeral is the lowest port the kernel gives to outgoing connections.
func firstEphemeral() (int, error) {
	const file = "/proc/sys/net/ipv4/ip_local_port_range"
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("read port range: %w", err)
	}
	low, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\t")
	port, err := strconv.Atoi(low)
	if err != nil {
		return 0, fmt.Errorf("read port range in %s: %w", file, err)
	}
	if port < lowest+10*blockSize {
		return 0, fmt.Errorf("read port range in %s: no room for tests between %d and %d", file, lowest, port)
	}
	return port, nil
}

// pidfdTried is called before forks are held back: when a process is first started
// or looked up, package os forks without the lock to find out what the kernel can.
var pidfdTried = sync.OnceValue(func() error {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	return self.Release()
})

// free holds back forks: a child has all open sockets until it executes its
// program, and would keep the port in use after it is closed here.
func free(ip string, port int) bool {
	if pidfdTried() != nil {
		return false
	}
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	ctx := context.Background()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address(ip, port))
	if err != nil {
		return false
	}
	u, err := lc.ListenPacket(ctx, "udp", address(ip, port))
	if err == nil {
		err = u.Close()
	}
	return errors.Join(err, l.Close()) == nil
}

func address(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }

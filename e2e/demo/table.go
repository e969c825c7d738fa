package main

import (
	"fmt"
	"strings"
	"time"
)

// width of the table; terminals have 80 columns or more.
const width = 76

// draw is the table; it notes how many lines it has.
func (b *board) draw() string {
	if !b.live {
		return ""
	}
	var t strings.Builder
	rule := strings.Repeat("-", width) + "\n"
	t.WriteString(rule)
	fmt.Fprintf(&t, "%-6s %-7s %6s %7s %8s  %-9s %8s %7s  %-8s\n", "node", "leader", "epoch", "proved", "release", "key", "reloads", "names", "leaf")
	for i, n := range b.status.Nodes {
		leader := ""
		if n.Leader {
			leader = "leader"
		}
		fmt.Fprintf(&t, "%-6s %-7s %6d %7d %8d  %-9s %8d %7d  %-8s\n", n.Node, leader, n.Report.Applied, n.Report.Proved, n.Report.Release, short(n.Key()), of(b.reloads, i), n.Report.Names, short(of(b.leaves, i)))
	}
	fmt.Fprintf(&t, "resumptions   TLS 1.2: %d kept, %d lost   TLS 1.3: %d kept, %d lost\n", b.tls12.Resumed, b.tls12.Lost, b.tls13.Resumed, b.tls13.Lost)
	fmt.Fprintf(&t, "certificates  %d full handshakes, %d failed\n", b.certs.Full, b.certs.Broken)
	fmt.Fprintf(&t, "site          %d requests, %d failed\n", b.asked.Full+b.asked.Broken, b.asked.Broken)
	fmt.Fprintf(&t, "ring epoch %d, proved on %d of %d, %s", b.status.Epoch, b.status.Proved, b.status.Serving, time.Since(b.started).Round(time.Second))
	if b.err != nil {
		t.WriteString(", status is old")
	}
	t.WriteString("\n" + rule)
	if b.task != "" {
		t.WriteString(b.task + "\n")
	}
	b.drawn = strings.Count(t.String(), "\n")
	return t.String()
}

// line is the table in one line.
func (b *board) line() string {
	var t strings.Builder
	fmt.Fprintf(&t, "%4.0fs epoch %d proved on %d/%d", time.Since(b.started).Seconds(), b.status.Epoch, b.status.Proved, b.status.Serving)
	for i, n := range b.status.Nodes {
		fmt.Fprintf(&t, " | %s epoch %d release %d key %s reloads %d names %d", n.Node, n.Report.Applied, n.Report.Release, short(n.Key()), of(b.reloads, i), n.Report.Names)
	}
	fmt.Fprintf(&t, " | kept %d lost %d | certificates %d failed %d | requests %d failed %d\n",
		b.tls12.Resumed+b.tls13.Resumed, b.tls12.Lost+b.tls13.Lost, b.certs.Full, b.certs.Broken, b.asked.Full+b.asked.Broken, b.asked.Broken)
	return t.String()
}

// of is the value of the node in row i: all go by name in order.
func of[T any](values []T, i int) (v T) {
	if i < len(values) {
		v = values[i]
	}
	return v
}

// short is the head of a key name or a serial number.
func short(key string) string { return key[:min(len(key), 8)] }

package store_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// tally is a fleet behind a proxy that counts its transactions that write.
type tally struct {
	world
	proxy *testkit.Proxy

	mu      sync.Mutex
	count   int
	maxOps  int
	maxBody int
}

func counted(tb testing.TB, w world) *tally {
	tb.Helper()
	c := &tally{proxy: testkit.FaultProxy(tb, testkit.SharedConsul(tb).Addr)}
	c.proxy.Set(testkit.Rule{Method: http.MethodPut, Path: "/v1/txn", Fault: c.see})
	c.world = w.at(tb, c.proxy.Addr, "")
	return c
}

func (c *tally) see(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	body := readBody(r)
	var ops []struct{ KV struct{ Verb string } }
	if err := json.Unmarshal(body, &ops); err != nil {
		panic(http.ErrAbortHandler)
	}
	if len(ops) > 0 && ops[0].KV.Verb != "get-or-empty" {
		c.mu.Lock()
		c.count++
		c.maxOps, c.maxBody = max(c.maxOps, len(ops)), max(c.maxBody, len(body))
		c.mu.Unlock()
	}
	pass.ServeHTTP(w, r)
}

// readBody leaves the body to be read again.
func readBody(r *http.Request) []byte {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body
}

func (c *tally) writes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

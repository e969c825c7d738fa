package testkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func TestProxyFaults(t *testing.T) {
	t.Parallel()
	consul := SharedConsul(t)
	key := FleetName(t) + "/key"
	put(t, consul.Client(t), key, strings.Repeat("v", 1000))
	tests := map[string]struct {
		fault  Fault
		status int    // 0: no answer at all
		body   string // contained in the answer
		broken bool   // the body ends early
		index  string
	}{
		"none":      {status: 200, body: key},
		"500":       {fault: Status(500), status: 500},
		"429":       {fault: Status(429), status: 429},
		"not found": {fault: NotFound, status: 404, index: "7"},
		"empty":     {fault: EmptyList, status: 200, body: "[]", index: "7"},
		"index":     {fault: Index(3), status: 200, body: key, index: "3"},
		"truncated": {fault: Truncate, status: 200, body: "LockIndex", broken: true},
		"cut":       {fault: Cut},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := FaultProxy(t, consul.Addr)
			if tt.fault != nil {
				p.Set(Rule{Path: "/v1/kv/" + key, Fault: tt.fault})
			}
			got, err := fetch(t, p, "/v1/kv/"+key+"?index=7&wait=10ms")
			if got.status != tt.status || !strings.Contains(got.body, tt.body) {
				t.Fatalf("answer = %d %q, %v, want %d with %q", got.status, got.body, err, tt.status, tt.body)
			}
			if tt.status == 0 && err == nil {
				t.Fatal("answer = nil error, want one")
			}
			if broken := errors.Is(err, io.ErrUnexpectedEOF); broken != tt.broken {
				t.Errorf("read body: %v, want cut short: %t", err, tt.broken)
			}
			if index := got.header.Get("X-Consul-Index"); tt.index != "" && index != tt.index {
				t.Errorf("X-Consul-Index = %q, want %q", index, tt.index)
			}
			if _, err := fetch(t, p, "/v1/status/leader"); err != nil {
				t.Errorf("another path = %v, want it untouched", err)
			}
		})
	}
}

func TestProxyBreaksOnlyTheRequestsTheRuleCounts(t *testing.T) {
	t.Parallel()
	p := FaultProxy(t, SharedConsul(t).Addr)
	p.Set(Rule{Method: http.MethodGet, Path: "/v1/status", Skip: 1, Times: 2, Fault: Status(500)})
	var got []int
	for range 5 {
		a, err := fetch(t, p, "/v1/status/leader")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.status)
	}
	if want := []int{200, 500, 500, 200, 200}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("answers = %v, want %v", got, want)
	}
	if got := p.Seen("GET", "/v1/status/"); got != 5 {
		t.Errorf("Seen() = %d, want 5", got)
	}
	if got := p.Seen("PUT", "/v1/status/"); got != 0 {
		t.Errorf("Seen() of PUT = %d, want 0", got)
	}
}

// TestProxyCountsReads makes reads and writes, alone and in transactions.
func TestProxyCountsReads(t *testing.T) {
	t.Parallel()
	server := SharedConsul(t)
	p := FaultProxy(t, server.Addr)
	client, err := api.NewClient(&api.Config{Address: p.Addr})
	if err != nil {
		t.Fatal(err)
	}
	key := FleetName(t) + "/a"
	if _, err := client.KV().Put(&api.KVPair{Key: key, Value: []byte("x")}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.KV().Get(key, nil); err != nil {
		t.Fatal(err)
	}
	op := func(verb api.KVOp, key string) *api.TxnOp {
		return &api.TxnOp{KV: &api.KVTxnOp{Verb: verb, Key: key, Value: []byte("y")}}
	}
	ops := api.TxnOps{op(api.KVSet, key), op(api.KVGet, key), op(api.KVGetOrEmpty, key+"b"), op(api.KVGetOrEmpty, "elsewhere")}
	if ok, _, _, err := client.Txn().Txn(ops, nil); err != nil || !ok {
		t.Fatalf("Txn() = %t, %v, want it to go through unchanged", ok, err)
	}
	if got := p.Read(key); got != 3 {
		t.Errorf("Read() = %d, want 3 of 1 read and 1 write alone, 2 and 1 in a transaction", got)
	}
}

func TestProxyHangsUntilTheRulesChange(t *testing.T) {
	t.Parallel()
	p := FaultProxy(t, SharedConsul(t).Addr)
	p.Set(Rule{Fault: Hang})
	done := make(chan error, 1)
	go func() {
		_, err := fetch(t, p, "/v1/status/leader")
		done <- err
	}()
	Eventually(t, 50*time.Second, "the request", func() error {
		if p.Seen("", "/") == 0 {
			return errors.New("none came")
		}
		return nil
	})
	select {
	case err := <-done:
		t.Fatalf("answer = %v, want none before the rules change", err)
	default:
	}
	p.Set()
	select {
	case err := <-done:
		if err == nil {
			t.Error("answer to what hung = nil, want the connection cut")
		}
	case <-time.After(5 * time.Second): // fetch gives up after 10
		t.Error("answer to what hung: none, want the connection cut when the rules change")
	}
}

func TestProxyCutsBlockingQueries(t *testing.T) {
	t.Parallel()
	consul := SharedConsul(t)
	key := FleetName(t)
	put(t, consul.Client(t), key, "1")
	pair, _, err := consul.Client(t).KV().Get(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := FaultProxy(t, consul.Addr)
	c, err := api.NewClient(&api.Config{Address: p.Addr})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, _, err := c.KV().Get(key, (&api.QueryOptions{WaitIndex: pair.ModifyIndex, WaitTime: time.Minute}).WithContext(t.Context()))
		done <- err
	}()
	Eventually(t, 50*time.Second, "the end of the query", func() error {
		p.CutAll()
		select {
		case err := <-done:
			if err == nil {
				t.Error("Get() = nil error, want one")
			}
			return nil
		default:
			return errors.New("it waits")
		}
	})
}

func TestProxyLosesTheAnswerNotTheWrite(t *testing.T) {
	t.Parallel()
	consul := SharedConsul(t)
	key := FleetName(t)
	p := FaultProxy(t, consul.Addr)
	p.Set(Rule{Method: http.MethodPut, Fault: Lost})
	c, err := api.NewClient(&api.Config{Address: p.Addr})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.KV().Put(&api.KVPair{Key: key, Value: []byte("1")}, nil); err == nil {
		t.Error("Put() = nil error, want one")
	}
	pair, _, err := c.KV().Get(key, nil)
	if err != nil || pair == nil {
		t.Errorf("Get() after it = %v, %v, want the value", pair, err)
	}
}

// answer is what a client got, as far as it got.
type answer struct {
	status int
	header http.Header
	body   string
}

func fetch(t *testing.T, p *Proxy, path string) (answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Addr+path, nil)
	if err != nil {
		return answer{}, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body)}, errors.Join(err, res.Body.Close())
}

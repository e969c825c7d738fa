package dns01

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// cloud is what Cloudflare's API documents of the calls that are made: there is
// no such server to run.
type cloud struct {
	mu      sync.Mutex
	records map[string]string // id -> the record
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := func(status int, result any, code int) {
		body := map[string]any{"success": code == 0, "result": result, "errors": []any{}}
		if code != 0 {
			body["errors"] = []any{map[string]any{"code": code, "message": "An identical record already exists."}}
		}
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(body); err != nil {
			panic(err)
		}
	}
	id := strings.TrimPrefix(r.URL.Path, "/zones/z1/dns_records/")
	switch {
	case r.Header.Get("Authorization") != "Bearer the-token":
		answer(http.StatusForbidden, nil, 9109)
	case r.URL.Path == "/zones":
		answer(http.StatusOK, []any{map[string]any{"id": "z1", "name": r.URL.Query().Get("name")}}, 0)
	case r.Method == http.MethodPost:
		text, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		for _, other := range c.records {
			if other == string(text) {
				answer(http.StatusBadRequest, nil, identical)
				return
			}
		}
		c.records["r1"] = string(text)
		answer(http.StatusOK, map[string]any{"id": "r1"}, 0)
	case r.Method == http.MethodGet:
		for id, text := range c.records {
			var rec map[string]any
			if err := json.Unmarshal([]byte(text), &rec); err != nil {
				panic(err)
			}
			if q := r.URL.Query(); rec["name"] == q.Get("name") && rec["content"] == q.Get("content") && rec["type"] == q.Get("type") {
				answer(http.StatusOK, []any{map[string]any{"id": id}}, 0)
				return
			}
		}
		answer(http.StatusOK, []any{}, 0)
	case r.Method == http.MethodDelete && c.records[id] != "":
		delete(c.records, id)
		answer(http.StatusOK, nil, 0)
	default:
		answer(http.StatusNotFound, nil, 1000)
	}
}

func (c *cloud) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.records)
}

// TestCloudflareOfAFormerLeader sets a record that is there, and removes one that
// another process has set.
func TestCloudflareOfAFormerLeader(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	c := &cloud{records: map[string]string{}}
	web := httptest.NewServer(c)
	defer web.Close()
	zone := zoneOf(bind, "cloudflare", secrets(map[string]string{"CF_DNS_API_TOKEN": "the-token", "CLOUDFLARE_BASE_URL": web.URL}))
	zone.Propagation = 0
	former, next := responder(t, bind, zone), responder(t, bind, zone)
	for _, r := range []*Responder{former, next} {
		if err := r.Present(t.Context(), "a.test", "token", "token.thumbprint"); err != nil || c.len() != 1 {
			t.Fatalf("Present() = %v with %d records, want one", err, c.len())
		}
	}
	next.CleanUp(t.Context(), "a.test", "token", "token.thumbprint")
	if n := c.len(); n != 0 {
		t.Errorf("%d records after CleanUp() of what was there, want none", n)
	}
	if err := next.Present(t.Context(), "a.test", "other", "other.thumbprint"); err != nil {
		t.Fatal(err)
	}
	responder(t, bind, zone).CleanUp(t.Context(), "a.test", "other", "other.thumbprint")
	if n := c.len(); n != 0 {
		t.Errorf("%d records after CleanUp() by the next leader, want none", n)
	}
}

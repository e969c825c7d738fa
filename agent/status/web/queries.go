package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// Bounds of what one request may ask for.
const (
	maxName  = 253 // bytes of a DNS name (RFC 1035, section 2.3.4)
	maxPage  = 500
	pageSize = 50
	maxSpans = 400
)

// query reads the parameters of one request, each given once; the first mistake
// stays.
type query struct {
	values url.Values
	err    error
}

func queryOf(r *http.Request, known ...string) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values, err: err}
	for key, given := range values {
		if !slices.Contains(known, key) {
			q.fail("parameter %.40q is not known: %s are", key, strings.Join(known, ", "))
		} else if len(given) != 1 {
			q.fail("parameter %q is given twice", key)
		}
	}
	return q
}

func (q *query) fail(format string, args ...any) {
	if q.err == nil {
		q.err = fmt.Errorf(format, args...)
	}
}

// name is a name or a part of one, in lower case.
func (q *query) name(key string) string {
	v := strings.ToLower(strings.TrimSpace(q.values.Get(key)))
	if len(v) > maxName {
		q.fail("%s has %d bytes, want %d at most", key, len(v), maxName)
	}
	return v
}

func (q *query) number(key string, otherwise, least, most int) int {
	v := q.values.Get(key)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		q.fail("%s is %.40q, want %d to %d", key, v, least, most)
	}
	return n
}

func (q *query) choice(key string, choices ...string) string {
	v := q.values.Get(key)
	if v == "" {
		return choices[0]
	}
	if !slices.Contains(choices, v) {
		q.fail("%s is %.40q, want one of %s", key, v, strings.Join(choices, ", "))
	}
	return v
}

// fromMemory answers with what work finds when it is its turn.
func (p *Pages) fromMemory(w http.ResponseWriter, r *http.Request, q *query, work func() any) {
	if q.err != nil {
		answer(w, http.StatusBadRequest, problem{q.err.Error()})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), searchQueue)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		w.Header().Set("Retry-After", "2")
		answer(w, http.StatusServiceUnavailable, problem{"too many searches at a time: ask again"})
		return
	}
	body := func() any {
		defer func() { <-p.slots }()
		return work()
	}()
	answer(w, http.StatusOK, body)
}

func (p *Pages) answerNames(w http.ResponseWriter, r *http.Request) {
	q := queryOf(r, "match", "at", "after", "limit")
	ask := NameQuery{
		Match: q.name("match"), Prefix: q.choice("at", "part", "start") == "start",
		After: q.name("after"), Limit: q.number("limit", pageSize, 1, maxPage),
	}
	p.fromMemory(w, r, q, func() any { return p.src.Names(ask) })
}

func (p *Pages) answerExpiry(w http.ResponseWriter, r *http.Request) {
	q := queryOf(r, "unit", "count")
	day := 24 * time.Hour
	span := map[string]time.Duration{"day": day, "week": 7 * day}[q.choice("unit", "day", "week")]
	count := q.number("count", 90, 1, maxSpans)
	p.fromMemory(w, r, q, func() any { return p.src.Ends(time.Now(), span, count) })
}

// waitingPage is a part of Backlog.
type waitingPage struct {
	Backlog
	Matching int    `json:"matching"`
	Offset   int    `json:"offset"`
	Error    string `json:"error,omitempty"` // why this is older than it should be, or missing
}

func (p *Pages) answerWaiting(w http.ResponseWriter, r *http.Request) {
	q := queryOf(r, "state", "match", "offset", "limit")
	state := issuance.State(q.choice("state", "", string(issuance.Waiting), string(issuance.Parked)))
	match := q.name("match")
	offset, limit := q.number("offset", 0, 0, MaxWaiting), q.number("limit", pageSize, 1, maxPage)
	if q.err != nil {
		answer(w, http.StatusBadRequest, problem{q.err.Error()})
		return
	}
	b, err := p.backlog.get(r.Context())
	page := waitingPage{Backlog: b, Offset: offset}
	if err != nil {
		page.Error = err.Error()
	}
	page.Waiting = []Waiting{}
	for _, x := range b.Waiting {
		if state != "" && x.State != state || !slices.ContainsFunc(x.Names, func(n string) bool { return strings.Contains(n, match) }) {
			continue
		}
		if page.Matching >= offset && len(page.Waiting) < limit {
			page.Waiting = append(page.Waiting, x)
		}
		page.Matching++
	}
	if page.States == nil {
		page.States = map[issuance.State]int{}
	}
	answer(w, http.StatusOK, page)
}

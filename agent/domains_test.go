package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/store"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

func wishOf(names ...string) issuance.Wish { return issuance.Wish{Names: names} }

func TestUsableWishes(t *testing.T) {
	many := make([]string, issuance.MaxNames+1)
	for i := range many {
		many[i] = fmt.Sprintf("n%d.test", i)
	}
	tests := map[string]struct {
		wishes []issuance.Wish
		want   string        // names of certificates, "|" between them
		errs   map[int]error // by index
	}{
		"any form":             {[]issuance.Wish{wishOf("A.Test."), wishOf("bücher.test")}, "a.test|xn--bcher-kva.test", nil},
		"sorted":               {[]issuance.Wish{wishOf("b.test", "a.test")}, "a.test b.test", nil},
		"twice":                {[]issuance.Wish{wishOf("a.test"), wishOf("A.test")}, "a.test", nil},
		"twice in one":         {[]issuance.Wish{wishOf("a.test", "A.test.")}, "a.test", nil},
		"the same names again": {[]issuance.Wish{wishOf("a.test", "b.test"), wishOf("b.test", "a.test")}, "a.test b.test", nil},
		"in two certificates":  {[]issuance.Wish{wishOf("a.test"), wishOf("b.test", "a.test")}, "", map[int]error{1: ErrTakenDomain}},
		"public suffix":        {[]issuance.Wish{wishOf("a.test"), wishOf("co.uk")}, "", map[int]error{1: issuance.ErrItem}},
		"private suffix":       {[]issuance.Wish{wishOf("github.io")}, "", map[int]error{0: issuance.ErrItem}},
		"junk in Punycode":     {[]issuance.Wish{wishOf("xn--a.test"), wishOf("xn--.test")}, "", map[int]error{0: fleet.ErrDomain, 1: fleet.ErrDomain}},
		"address":              {[]issuance.Wish{wishOf("192.0.2.1")}, "", map[int]error{0: fleet.ErrDomain}},
		"path":                 {[]issuance.Wish{wishOf("../x")}, "", map[int]error{0: fleet.ErrDomain}},
		"underscore":           {[]issuance.Wish{wishOf("a_b.test")}, "", map[int]error{0: issuance.ErrItem}},
		"names that are none": {
			[]issuance.Wish{wishOf(""), wishOf(".."), wishOf(strings.Repeat("a", 64) + ".test"), wishOf(strings.Repeat("a.", 125) + "test"), wishOf("*.*.com"), wishOf("a\x00.test"), wishOf("$host"), wishOf("{"), wishOf("2001:db8::1")},
			"", map[int]error{
				0: fleet.ErrDomain, 1: fleet.ErrDomain, 2: fleet.ErrDomain, 3: fleet.ErrDomain, 4: fleet.ErrDomain, 5: fleet.ErrDomain, 6: fleet.ErrDomain, 7: fleet.ErrDomain, 8: fleet.ErrDomain,
			},
		},
		"no names":                   {[]issuance.Wish{wishOf()}, "", map[int]error{0: issuance.ErrItem}},
		"too many names":             {[]issuance.Wish{wishOf(many...)}, "", map[int]error{0: issuance.ErrItem}},
		"too many for the profile":   {[]issuance.Wish{{Names: many[:26], Profile: "small"}}, "", map[int]error{0: issuance.ErrProfile}},
		"as many as it takes":        {[]issuance.Wish{{Names: []string{"a.test", "b.test", "A.test."}, Profile: "two"}}, "a.test b.test", nil},
		"many without the profile":   {[]issuance.Wish{{Names: many[:26], Profile: "other"}}, strings.Join(slices.Sorted(slices.Values(many[:26])), " "), nil},
		"wildcard":                   {[]issuance.Wish{wishOf("*.a.test")}, "", map[int]error{0: issuer.ErrWildcard}},
		"wildcard among others":      {[]issuance.Wish{wishOf("a.test", "*.b.test")}, "", map[int]error{0: issuer.ErrWildcard}},
		"group that cannot be a key": {[]issuance.Wish{{Names: []string{"a.test"}, Group: "a\nb"}}, "", map[int]error{0: issuance.ErrItem}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := usableWishes(tt.wishes, issuer.Stateless{}, map[string]int{"small": 25, "two": 2})
			var refused *RefusedError
			errors.As(err, &refused)
			if len(tt.errs) > 0 {
				if refused == nil || len(refused.Wishes) != len(tt.errs) || refused.Of != len(tt.wishes) {
					t.Fatalf("usableWishes() = %v, want %v refused", err, tt.errs)
				}
				for _, w := range refused.Wishes {
					if !errors.Is(w.Err, tt.errs[w.Index]) || tt.errs[w.Index] == nil {
						t.Errorf("usableWishes() refuses %d: %v, want %v", w.Index, w.Err, tt.errs[w.Index])
					}
				}
				return
			}
			var names []string
			for _, w := range got {
				names = append(names, strings.Join(w.Names, " "))
			}
			if text := strings.Join(names, "|"); err != nil || text != tt.want {
				t.Errorf("usableWishes() = %s, %v, want %s", text, err, tt.want)
			}
		})
	}
}

// TestBatchesFitIntoRequests: whatever the names, a request can be written.
func TestBatchesFitIntoRequests(t *testing.T) {
	long := strings.Repeat("a", 60)
	var wishes []issuance.Wish
	for i := range 2500 {
		wishes = append(wishes, issuance.Wish{Names: []string{fmt.Sprintf("%s.%s.%s.n%d.test", long, long, long, i)}, Group: strings.Repeat("<", 253)})
	}
	total := 0
	for _, batch := range batches(wishes) {
		if _, err := issuance.EncodeRequest(issuance.Request{At: time.Now(), By: "test", Do: issuance.Add, Wishes: batch}); err != nil {
			t.Errorf("EncodeRequest() of %d wishes = %v", len(batch), err)
		}
		total += len(batch)
	}
	if total != len(wishes) {
		t.Errorf("batches() has %d wishes, want %d", total, len(wishes))
	}
}

func TestRefusedListAsksForNothing(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	err := w.console.AddDomains(t.Context(), []issuance.Wish{wishOf("a.test"), wishOf("co.uk")}, "test", nil)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Wishes[0].Index != 1 {
		t.Errorf("AddDomains() = %v, want the second refused", err)
	}
	if n, err := w.console.DomainRequests(t.Context()); n != 0 || err != nil {
		t.Errorf("DomainRequests() = %d, %v, want none", n, err)
	}
}

// TestRequestsWaitForALeader: what is asked for while nobody leads is done by
// whoever leads next, and what is spoiled in between keeps nothing back.
func TestRequestsWaitForALeader(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	added := make(chan error, 1)
	go func() { added <- w.console.AddDomains(ctx, []issuance.Wish{wishOf("early.test")}, "test", nil) }()
	testkit.Eventually(t, 50*time.Second, "the request", func() error {
		n, err := w.console.DomainRequests(t.Context())
		if err == nil && n != 1 {
			err = fmt.Errorf("%d requests wait", n)
		}
		return err
	})
	cancel()
	if err := <-added; !errors.Is(err, context.Canceled) {
		t.Fatalf("AddDomains() without a leader = %v, want it to wait", err)
	}
	prefix := strings.TrimSuffix(w.store.LeaderKey(), "leader")
	for _, id := range []string{"0", "1700000000000000000-00000000", "9/9", "zzz"} {
		if _, err := w.store.Client().KV().Put(&api.KVPair{Key: prefix + "intake/" + id, Value: []byte("spoiled")}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := w.console.DomainRequests(t.Context()); n != 5 || err != nil {
		t.Errorf("DomainRequests() = %d, %v, want 5", n, err)
	}
	w.leader(t)
	w.answering(t)
	w.await(t, "early.test", "issued", isState(issuance.Issued))
	w.add(t, "late.test")
	w.await(t, "late.test", "issued", isState(issuance.Issued))
	testkit.Eventually(t, 50*time.Second, "the queue to be empty", func() error {
		n, err := w.console.DomainRequests(t.Context())
		if err == nil && n > 0 {
			err = fmt.Errorf("%d requests wait", n)
		}
		return err
	})
}

func TestBacklogIsBounded(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	r := issuance.Request{At: time.Now().UTC().Truncate(time.Second), By: "test", Do: issuance.Add, Wishes: []issuance.Wish{wishOf("a.test")}}
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		_, err = w.store.PutRequest(t.Context(), r)
	}
	if !errors.Is(err, store.ErrBacklog) {
		t.Fatalf("PutRequest() the %dth time = %v, want %v", n, err, store.ErrBacklog)
	}
	if err := w.console.AddDomains(t.Context(), []issuance.Wish{wishOf("b.test")}, "test", nil); !errors.Is(err, store.ErrBacklog) {
		t.Errorf("AddDomains() with a full queue = %v, want %v", err, store.ErrBacklog)
	}
	w.leader(t)
	testkit.Eventually(t, 50*time.Second, "room in the queue", func() error {
		return w.console.AddDomains(t.Context(), []issuance.Wish{wishOf("b.test")}, "test", nil)
	})
	if _, err := w.console.DomainsOf(t.Context(), []string{"a.test", "b.test"}); err != nil {
		t.Errorf("DomainsOf() = %v, want what was asked for before and after", err)
	}
}

// TestManyAreTakenInParts asks for more than one request holds.
func TestManyAreTakenInParts(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.rules.parallel = 1
	w.leader(t)
	var wishes []issuance.Wish
	for i := range 3*askMost + 1 {
		wishes = append(wishes, wishOf(fmt.Sprintf("n%d.test", i)))
	}
	last, calls := 0, 0
	err := w.console.AddDomains(t.Context(), wishes, "test", func(done, total int) {
		if done <= last || total != len(wishes) {
			t.Errorf("progress(%d, %d) after %d, want more of %d", done, total, last, len(wishes))
		}
		last, calls = done, calls+1
	})
	if err != nil || last != len(wishes) {
		t.Errorf("AddDomains() = %v, %d taken, want %d", err, last, len(wishes))
	}
	list, bad, err := w.console.Domains(t.Context(), DomainFilter{}, true)
	if err != nil || len(list) != len(wishes) || len(bad) > 0 {
		t.Errorf("Domains() has %d, %d bad, %v, want %d", len(list), len(bad), err, len(wishes))
	}
}

func TestAwaitDomains(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{Blocked: []string{"blocked.test"}})
	w.pebble.SetAddress(t, "elsewhere.test", "127.0.0.2") // nobody listens there
	w.leader(t)
	w.answering(t)
	wishes := []issuance.Wish{wishOf("B.test", "a.test"), wishOf("blocked.test"), wishOf("elsewhere.test")}
	if err := w.console.AddDomains(t.Context(), wishes, "test", nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second) // before the second try
	defer cancel()
	var last DomainsTally
	rest, err := w.console.AwaitDomains(ctx, wishes, func(now DomainsTally) { last = now })
	if err != nil || ctx.Err() != nil {
		t.Fatalf("AwaitDomains() = %v, %v, want an end before the deadline", err, ctx.Err())
	}
	if want := (DomainsTally{All: 3, Issued: 1, Waiting: 1, Parked: 1}); last != want {
		t.Errorf("AwaitDomains() counts %+v, want %+v", last, want)
	}
	if len(rest) != 2 || rest[0].State != issuance.Parked || rest[0].Failure.Class != issuance.Hopeless || rest[1].State != issuance.Waiting || rest[1].Failure.Class != issuance.Recoverable {
		t.Errorf("AwaitDomains() = %+v, want one parked and one waiting", rest)
	}
	if err := w.console.EndDomains(t.Context(), []string{"blocked.test"}, false, "test"); err != nil {
		t.Fatal(err)
	}
	rest, err = w.console.AwaitDomains(ctx, wishes[1:2], func(DomainsTally) {})
	if err != nil || len(rest) != 1 || rest[0].State != "" {
		t.Errorf("AwaitDomains() of a removed one = %+v, %v, want it without a state", rest, err)
	}
	list, err := w.console.DomainsOf(t.Context(), []string{"b.test", "elsewhere.test", "a.test"})
	if err != nil || len(list) != 2 || list[0].Names[0] != "a.test" || list[1].Names[0] != "elsewhere.test" {
		t.Errorf("DomainsOf() = %+v, %v, want two certificates in the order of the names", list, err)
	}
}

// tooManyNames answers as a CA whose profile has fewer names (RFC 8555, section
// 6.7).
func tooManyNames(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusBadRequest)
	if _, err := io.WriteString(w, `{"type":"urn:ietf:params:acme:error:malformed","detail":"at most 25 names","status":400}`); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// TestCARefusesTheOrder: names that the CA does not put into one certificate are
// parked with its reason, and cost others nothing.
func TestCARefusesTheOrder(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	names := make([]string, 26)
	for i := range names {
		names[i] = fmt.Sprintf("n%d.test", i)
	}
	w.leader(t)
	w.answering(t)
	w.add(t, "first.test")
	w.await(t, "first.test", "issued", isState(issuance.Issued))
	w.proxy.Set(testkit.Rule{Method: http.MethodPost, Path: "/order-plz", Times: 1, Fault: tooManyNames})
	if err := w.console.AddDomains(t.Context(), []issuance.Wish{wishOf(names...)}, "test", nil); err != nil {
		t.Fatal(err)
	}
	d := w.await(t, names[25], "parked", isState(issuance.Parked))
	if f := d.Failure; f.Class != issuance.Hopeless || f.Stage != issuance.StageOrder || !strings.Contains(f.Detail, "at most 25") {
		t.Errorf("Domain() = %+v, want the CA's refusal of the order", f)
	}
	w.add(t, "other.test")
	w.await(t, "other.test", "issued", isState(issuance.Issued))
}

// TestRemovedWhileItIsObtained: what an attempt does after its name was removed
// leaves nothing behind.
func TestRemovedWhileItIsObtained(t *testing.T) {
	w := newIssueWorld(t, testkit.PebbleOptions{})
	w.leader(t)
	w.answering(t)
	reached, release := make(chan struct{}), make(chan struct{})
	w.proxy.Set(testkit.Rule{Method: http.MethodPost, Path: "/order-plz", Times: 1, Fault: func(rw http.ResponseWriter, r *http.Request, pass http.Handler) {
		close(reached)
		<-release
		pass.ServeHTTP(rw, r)
	}})
	w.add(t, "a.test")
	<-reached
	err := w.console.EndDomains(t.Context(), []string{"a.test"}, false, "test")
	close(release)
	if err != nil {
		t.Fatal(err)
	}
	w.add(t, "b.test")
	w.await(t, "b.test", "issued", isState(issuance.Issued))
	w.add(t, "c.test")
	w.await(t, "c.test", "issued", isState(issuance.Issued))
	if d, err := w.console.Domain(t.Context(), "a.test"); !errors.Is(err, ErrUnknownDomain) {
		t.Errorf("Domain() of a removed one = %+v, %v, want %v", d, err, ErrUnknownDomain)
	}
	if _, err := w.console.Certificate(t.Context(), "a.test"); err == nil {
		t.Error("Certificate() of a removed one = nil, want none")
	}
}

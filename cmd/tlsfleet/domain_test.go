package main

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

func TestParseDomains(t *testing.T) {
	tests := map[string]struct {
		text string
		want []domainEntry
	}{
		"empty":            {"", nil},
		"one":              {"a.test", []domainEntry{{"F:1: ", []string{"a.test"}}}},
		"lines":            {"a.test\nb.test\n", []domainEntry{{"F:1: ", []string{"a.test"}}, {"F:2: ", []string{"b.test"}}}},
		"CRLF":             {"a.test\r\n\r\nb.test\r\n", []domainEntry{{"F:1: ", []string{"a.test"}}, {"F:3: ", []string{"b.test"}}}},
		"CR alone":         {"a.test\rb.test", []domainEntry{{"F:1: ", []string{"a.test"}}, {"F:2: ", []string{"b.test"}}}},
		"together":         {"a.test, b.test\tc.test,,d.test ", []domainEntry{{"F:1: ", []string{"a.test", "b.test", "c.test", "d.test"}}}},
		"comments":         {"# all\na.test # www.a.test\n#\n b.test#", []domainEntry{{"F:2: ", []string{"a.test"}}, {"F:4: ", []string{"b.test"}}}},
		"only commas":      {", ,\n", nil},
		"byte order mark":  {"\ufeffa.test", []domainEntry{{"F:1: ", []string{"a.test"}}}},
		"as they are":      {"A.Test. bücher.test *.x", []domainEntry{{"F:1: ", []string{"A.Test.", "bücher.test", "*.x"}}}},
		"no-break space":   {"a.test\u00a0b.test", []domainEntry{{"F:1: ", []string{"a.test", "b.test"}}}},
		"bytes of no text": {"\x00\xff", []domainEntry{{"F:1: ", []string{"\x00\xff"}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := parseDomains("F", tt.text); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("parseDomains(%q) = %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}

// FuzzParseDomains: no name has what separates names, and reading the names
// again finds them again.
func FuzzParseDomains(f *testing.F) {
	for _, text := range []string{"a.test b.test\r\n# x\nc.test", "\ufeff,\r\xff", "a#b\u2028c"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var again strings.Builder
		got := parseDomains("F", text)
		for _, e := range got {
			if len(e.names) == 0 || strings.ContainsAny(strings.Join(e.names, ""), " ,#\r\n\t") {
				t.Fatalf("parseDomains(%q) has %q", text, e.names)
			}
			again.WriteString(strings.Join(e.names, ",") + "\n")
		}
		second := parseDomains("F", "\n"+again.String())
		if len(second) != len(got) {
			t.Fatalf("parseDomains() of its own names = %q, want %q", second, got)
		}
		for i := range got {
			if !reflect.DeepEqual(second[i].names, got[i].names) {
				t.Errorf("parseDomains() of its own names = %q, want %q", second[i].names, got[i].names)
			}
		}
	})
}

func TestDomainTable(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	failure := &agent.DomainFailure{Class: issuance.Recoverable, Stage: issuance.StageValidate, CA: "le", Type: "dns", Status: 400, Detail: "no\x1b[2J address\nfor the name " + strings.Repeat("x", 80), At: now}
	list := domainListing{Requests: 2, Domains: []agent.DomainStatus{
		{Names: []string{"a.test"}, State: issuance.Issued, Next: now.AddDate(0, 0, 20), NotAfter: now.AddDate(0, 0, 40), CA: "le"},
		{Names: []string{"b.test", "c.test"}, State: issuance.Waiting, Next: now.Add(time.Minute), Failures: 1, Failure: failure, Forecast: now.Add(time.Hour)},
	}}
	var out bytes.Buffer
	if err := domainTable(&out, list, true, now); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"a.test issued in 20d 2026-06-10 le - -",
		"b.test and 1 more waiting in 1m00s - - recoverable: no [2J address for the name xx",
		"xxx... in 1h00m",
		"2 certificates: 1 issued, 1 waiting waiting for a leader to take: 2 requests",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("domainTable() = %s, want it to have %q", got, want)
		}
	}
	for want, f := range map[string]agent.DomainFailure{"problem:     dns": {Type: "dns"}, "problem:     HTTP status 503": {Status: 503}} {
		if got := failureLines(agent.DomainStatus{Failure: &f}, now); !slices.Contains(got, want) {
			t.Errorf("failureLines(%+v) = %q, want it to have %q", f, got, want)
		}
	}
	if strings.ContainsRune(out.String(), '\x1b') {
		t.Errorf("domainTable() = %q, want no escape sequence of a CA", out.String())
	}
	show := strings.Join(domainLines(list.Domains[1], now), "\n")
	for _, want := range []string{"names:       b.test c.test", "tried again in 1m00s (2026-05-01T12:01:00Z)", "recoverable, in stage validate at le", "problem:     dns, HTTP status 400", strings.Repeat("x", 80)} {
		if !strings.Contains(show, want) {
			t.Errorf("domainLines() = %s, want it to have %q", show, want)
		}
	}
}

// TestEveryStateSaysWhatIsNext: no state is left without a next step.
func TestEveryStateSaysWhatIsNext(t *testing.T) {
	for _, s := range domainStates {
		if got := nextStep(agent.DomainStatus{State: s}, time.Now()); got == "-" {
			t.Errorf("nextStep(%s) = %q, want a step", s, got)
		}
	}
}

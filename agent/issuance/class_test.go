package issuance

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestClassify has each problem type that RFC 8555 (section 6.7), RFC 9773 and the
// drafts know, and each kind of answer that is no problem document.
func TestClassify(t *testing.T) {
	tests := map[string]struct {
		stage  Stage
		typ    string
		status int
		want   Class
	}{
		"nonce":                    {StageOrder, "badNonce", 400, Recoverable},
		"not ready":                {StageFinalize, "orderNotReady", 403, Recoverable},
		"replaced already":         {StageOrder, "alreadyReplaced", 409, Recoverable},
		"connection":               {StageValidate, "connection", 0, Recoverable},
		"dns":                      {StageValidate, "dns", 0, Recoverable},
		"wrong answer":             {StageValidate, "incorrectResponse", 0, Recoverable},
		"tls":                      {StageValidate, "tls", 0, Recoverable},
		"several":                  {StageValidate, "compound", 0, Recoverable},
		"answer to the challenge":  {StageValidate, "unauthorized", 0, Recoverable},
		"malformed at the end":     {StageFinalize, "malformed", 400, Recoverable},
		"malformed validation":     {StageValidate, "malformed", 400, Recoverable},
		"revoked already":          {StageOrder, "alreadyRevoked", 400, Recoverable},
		"bad reason":               {StageOrder, "badRevocationReason", 400, Recoverable},
		"not invented yet":         {StageOrder, "somethingNew", 400, Recoverable},
		"not invented, no status":  {StageValidate, "somethingNew", 0, Recoverable},
		"limited":                  {StageOrder, "rateLimited", 429, RateLimited},
		"limited, no problem":      {StageOrder, "", 429, RateLimited},
		"limited, status 503":      {StageOrder, "rateLimited", 503, RateLimited},
		"limited, no status":       {StageValidate, "rateLimited", 0, RateLimited},
		"limited, new type":        {StageOrder, "somethingNew", 429, RateLimited},
		"internal":                 {StageFinalize, "serverInternal", 500, CADown},
		"internal, no status":      {StageValidate, "serverInternal", 0, CADown},
		"unavailable":              {StageOrder, "", 503, CADown},
		"bad gateway":              {StageFinalize, "", 502, CADown},
		"no answer":                {StageOrder, "", 0, CADown},
		"html":                     {StageOrder, "", 200, CADown},
		"html, 403":                {StageValidate, "", 403, CADown},
		"html, 404":                {StageOrder, "", 404, CADown},
		"redirect":                 {StageAccount, "", 302, CADown},
		"not invented yet, server": {StageOrder, "somethingNew", 500, CADown},
		"account gone":             {StageOrder, "accountDoesNotExist", 400, CADown},
		"account deactivated":      {StageOrder, "unauthorized", 403, CADown},
		"account may not":          {StageFinalize, "unauthorized", 403, CADown},
		"malformed account":        {StageAccount, "malformed", 400, CADown},
		"account, not invented":    {StageAccount, "somethingNew", 400, CADown},
		"account, limited":         {StageAccount, "somethingNew", 429, RateLimited},
		"binding wanted":           {StageAccount, "externalAccountRequired", 400, CADown},
		"new terms":                {StageOrder, "userActionRequired", 403, CADown},
		"algorithm":                {StageAccount, "badSignatureAlgorithm", 400, CADown},
		"public key":               {StageAccount, "badPublicKey", 400, CADown},
		"contact unsupported":      {StageAccount, "unsupportedContact", 400, CADown},
		"contact invalid":          {StageAccount, "invalidContact", 400, CADown},
		"caa":                      {StageValidate, "caa", 0, Hopeless},
		"caa at the order":         {StageOrder, "caa", 403, Hopeless},
		"rejected":                 {StageOrder, "rejectedIdentifier", 400, Hopeless},
		"unsupported":              {StageOrder, "unsupportedIdentifier", 400, Hopeless},
		"csr":                      {StageFinalize, "badCSR", 400, Hopeless},
		"profile":                  {StageOrder, "invalidProfile", 400, Hopeless},
		"profile, not asked":       {StagePreflight, "invalidProfile", 0, Hopeless},
		"malformed names":          {StageOrder, "malformed", 400, Hopeless},
	}
	covered := map[string]bool{}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Classify(tt.stage, tt.typ, tt.status); got != tt.want {
				t.Errorf("Classify(%s, %q, %d) = %s, want %s", tt.stage, tt.typ, tt.status, got, tt.want)
			}
		})
		covered[tt.typ] = true
	}
	for typ := range problems {
		if !covered[typ] {
			t.Errorf("no row has %s", typ)
		}
	}
}

// TestTheDocumentedClassesAreTrue reads the table of docs/acme.md.
func TestTheDocumentedClassesAreTrue(t *testing.T) {
	text, err := os.ReadFile("../../docs/acme.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[Class]string{} // what belongs to each
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (.*) \\| .* \\|$").FindAllSubmatch(text, -1) {
		if c := Class(m[1]); c.known() {
			rows[c] = string(m[2])
		}
	}
	for _, c := range []Class{Recoverable, RateLimited, Cut, CADown, Hopeless} {
		if rows[c] == "" {
			t.Errorf("the table has no row for %s", c)
		}
	}
	word := regexp.MustCompile("`([A-Za-z]+)`( [a-z]+)?")
	told := map[string]bool{}
	for c, row := range rows {
		for _, m := range word.FindAllStringSubmatch(row, -1) {
			typ, where := m[1], m[2]
			if Stage(typ).known() {
				continue
			}
			told[typ] = true
			if problems[typ] == "" && typ != "unauthorized" && typ != "malformed" {
				t.Errorf("%s is in the row of %s, and no problem type that is known", typ, c)
			}
			stage := StageOrder
			if c == Recoverable && where == " at" {
				stage = StageValidate
			}
			if got := Classify(stage, typ, 400); got != c {
				t.Errorf("%s%s is in the row of %s, and Classify() says %s", typ, where, c, got)
			}
		}
	}
	for typ, c := range problems {
		if !told[typ] || !strings.Contains(rows[c], "`"+typ+"`") {
			t.Errorf("%s is not in the row of %s", typ, c)
		}
	}
	for _, tt := range []struct {
		phrase string
		typ    string
		status int
		want   Class
	}{
		{"types that are not known", "somethingNew", 400, Recoverable},
		{"status 429", "", 429, RateLimited},
		{"other statuses from 500", "", 500, CADown},
		{"other statuses from 500", "somethingNew", 503, CADown},
		{"no connection", "", 0, CADown},
		{"an answer that is not ACME", "", 200, CADown},
	} {
		if got := Classify(StageOrder, tt.typ, tt.status); !strings.Contains(rows[tt.want], tt.phrase) || got != tt.want {
			t.Errorf("Classify(%q, %d) = %s, the row of %s is %q, want %q there", tt.typ, tt.status, got, tt.want, rows[tt.want], tt.phrase)
		}
	}
}

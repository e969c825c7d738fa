package issuance

import "testing"

func TestClassify(t *testing.T) {
	tests := map[string]struct {
		stage  Stage
		typ    string
		status int
		want   Class
	}{
		"nonce":                    {StageOrder, "badNonce", 400, Recoverable},
		"limited":                  {StageOrder, "rateLimited", 429, RateLimited},
		"limited, no problem":      {StageOrder, "", 429, RateLimited},
		"limited, status 503":      {StageOrder, "rateLimited", 503, RateLimited},
		"internal":                 {StageFinalize, "serverInternal", 500, CADown},
		"unavailable":              {StageOrder, "", 503, CADown},
		"no answer":                {StageOrder, "", 0, CADown},
		"html":                     {StageOrder, "", 200, CADown},
		"html, 404":                {StageOrder, "", 404, CADown},
		"answer to the challenge":  {StageValidate, "unauthorized", 0, Recoverable},
		"account deactivated":      {StageOrder, "unauthorized", 403, CADown},
		"account gone":             {StageOrder, "accountDoesNotExist", 400, CADown},
		"connection":               {StageValidate, "connection", 0, Recoverable},
		"dns":                      {StageValidate, "dns", 0, Recoverable},
		"caa":                      {StageValidate, "caa", 0, Hopeless},
		"rejected":                 {StageOrder, "rejectedIdentifier", 400, Hopeless},
		"malformed names":          {StageOrder, "malformed", 400, Hopeless},
		"malformed at the end":     {StageFinalize, "malformed", 400, Recoverable},
		"replaced already":         {StageOrder, "alreadyReplaced", 409, Recoverable},
		"profile":                  {StageOrder, "invalidProfile", 400, Hopeless},
		"not invented yet":         {StageOrder, "somethingNew", 400, Recoverable},
		"not invented yet, server": {StageOrder, "somethingNew", 500, CADown},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Classify(tt.stage, tt.typ, tt.status); got != tt.want {
				t.Errorf("Classify(%s, %q, %d) = %s, want %s", tt.stage, tt.typ, tt.status, got, tt.want)
			}
		})
	}
}

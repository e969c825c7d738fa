package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-acme/lego/v4/acme"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// problemPrefix is what the ACME problem types begin with (RFC 8555, section
// 6.7).
const problemPrefix = "urn:ietf:params:acme:error:"

// Problem is an answer of a CA that is an error.
type Problem struct {
	Status     int    // of HTTP
	Type       string // last part of the ACME type; empty if it is no ACME problem
	Detail     string
	RetryAfter time.Duration // 0: not said
}

// Error implements error.
func (p *Problem) Error() string {
	if p.Status == 0 && p.Type == noProfile {
		return p.Detail // it was not asked
	}
	what := p.Type
	if what == "" {
		what = "no ACME problem"
	}
	return fmt.Sprintf("the CA answers %d, %s: %.300s", p.Status, what, p.Detail)
}

// readProblem makes a Problem of an answer that is an error.
func readProblem(resp *http.Response, body []byte, now time.Time) *Problem {
	p := &Problem{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), now)}
	var doc acme.ProblemDetails
	if err := json.Unmarshal(body, &doc); err != nil || !strings.HasPrefix(doc.Type, problemPrefix) {
		p.Detail = strconv.QuoteToASCII(string(body[:min(len(body), 200)]))
		return p
	}
	p.Type, p.Detail = problemOf(&doc)
	return p
}

// problemOf is the type and the text of a problem document with its parts.
func problemOf(doc *acme.ProblemDetails) (typ, detail string) {
	typ, detail = strings.TrimPrefix(doc.Type, problemPrefix), doc.Detail
	for _, sub := range doc.SubProblems {
		detail += fmt.Sprintf("; %s: %s", sub.Identifier.Value, sub.Detail)
		if typ == "compound" {
			typ = strings.TrimPrefix(sub.Type, problemPrefix)
		}
	}
	return typ, detail
}

// retryAfter reads the header (RFC 9110, section 10.2.3): seconds or a date.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 366*24*3600)) * time.Second
	}
	if date, err := http.ParseTime(header); err == nil && date.After(now) {
		return date.Sub(now)
	}
	return 0
}

// stepError is an error with the stage in which it happened.
type stepError struct {
	stage issuance.Stage
	err   error
}

func (e *stepError) Error() string { return string(e.stage) + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// at marks an error with its stage; an error that has one keeps it.
func at(stage issuance.Stage, err error) error {
	var done *stepError
	if err == nil || errors.As(err, &done) {
		return err
	}
	return &stepError{stage, err}
}

// errAnswer is an answer of a CA that makes no sense, or none in time. It is the
// CA's trouble, not the names'.
var errAnswer = errors.New("the CA's answer makes no sense")

// errCut is a connection to a CA that broke off before the answer was there: a
// reset, an early end, or no answer in time. Whether the CA has acted is unknown.
var errCut = errors.New("the connection to the CA was cut")

// errOver means that an order leads to nothing any more, or that the CA has
// refused to take it.
var errOver = errors.New("the order is over")

func over(err error) error { return fmt.Errorf("%w: %w", errOver, err) }

// gone reports whether a CA has nothing under a URL that it once gave, or not
// for this account.
func gone(err error) bool {
	var p *Problem
	return errors.As(err, &p) && (p.Status == http.StatusNotFound || p.Status == http.StatusGone || p.Type == "malformed" || p.Type == "unauthorized")
}

// AccountGone reports whether a CA does not know the account any more.
func AccountGone(err error) bool {
	var p *Problem
	return errors.As(err, &p) && p.Type == "accountDoesNotExist"
}

// FailureOf tells what an error of Obtain means. ok is false if the work was
// ended by ctx: then nothing is known about the attempt, and it goes on later.
func FailureOf(ctx context.Context, ca string, err error) (f issuance.Failure, ok bool) {
	if fleet.Leased(ctx) != nil {
		return issuance.Failure{}, false
	}
	f = issuance.Failure{Stage: issuance.StageOrder, CA: ca, Detail: err.Error(), Over: errors.Is(err, errOver)}
	var step *stepError
	if errors.As(err, &step) {
		f.Stage = step.stage
		f.Detail = strings.TrimPrefix(f.Detail, string(step.stage)+": ")
	}
	var p *Problem
	switch {
	case errors.As(err, &p):
		f.Type, f.Status, f.RetryAfter, f.Detail = p.Type, p.Status, p.RetryAfter, p.Detail
		f.Class = issuance.Classify(f.Stage, p.Type, p.Status)
	case f.Stage == issuance.StagePreflight, f.Stage == issuance.StageAnswer, f.Stage == issuance.StageCheck:
		f.Class = issuance.Recoverable
	case errors.Is(err, errCut):
		f.Class = issuance.Cut
	default:
		f.Class = issuance.CADown
	}
	return f, true
}

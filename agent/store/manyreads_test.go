package store

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// answering is a server that has one answer.
type answering struct {
	status int
	text   string
}

func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Body: io.NopCloser(strings.NewReader(a.text))}, nil
}

// send is what comes of a transaction of reads, with what consul/api gets.
func (a answering) send(t *testing.T) (answer reads, rest []byte, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithValue(t.Context(), manyKey{}, answer.answer()), http.MethodPut, "http://consul/v1/txn", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := manyTransport{a}.RoundTrip(req)
	if err != nil {
		return answer, nil, err
	}
	rest, err = io.ReadAll(resp.Body)
	if closeErr := resp.Body.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	return answer, rest, nil
}

const twoReads = `{"Results":[{"KV":{"LockIndex":0,"Key":"a/b","Flags":0,"Value":"AAEC","Session":"s","CreateIndex":7,"ModifyIndex":9}},` +
	`{"KV":{"Key":"a/c","Value":null,"CreateIndex":0,"ModifyIndex":0}}],"Errors":null,"Index":0,"LastContact":0,"KnownLeader":true}`

func TestManyReadsAreThoseOfConsul(t *testing.T) {
	t.Parallel()
	answer, rest, err := answering{http.StatusOK, twoReads + "\n"}.send(t)
	if err != nil || len(answer.Results) != 2 || string(rest) != "{}" {
		t.Fatalf("RoundTrip() = %+v, %q, %v, want two results, and nothing left", answer, rest, err)
	}
	a, c := answer.Results[0].KV, answer.Results[1].KV
	if a.Key != "a/b" || !bytes.Equal(a.Value, []byte{0, 1, 2}) || a.Session != "s" || a.ModifyIndex != 9 {
		t.Errorf("the first is %+v, want what Consul has", a)
	}
	if c.Key != "a/c" || c.Value != nil || c.ModifyIndex != 0 {
		t.Errorf("the second is %+v, want one that was never written", c)
	}
}

func TestManyReadsRefuseWhatIsCut(t *testing.T) {
	t.Parallel()
	for n := range len(twoReads) {
		if answer, _, err := (answering{http.StatusOK, twoReads[:n]}).send(t); err == nil {
			t.Errorf("the first %d bytes are read as %+v, want an error", n, answer)
		}
	}
}

func TestManyReadsLeaveOtherAnswers(t *testing.T) {
	t.Parallel()
	const text = `{"Results":null,"Errors":[{"OpIndex":0,"What":"no"}]}`
	answer, rest, err := answering{http.StatusConflict, text}.send(t)
	if err != nil || answer.Results != nil || string(rest) != text {
		t.Errorf("RoundTrip() = %+v, %q, %v, want the answer as it is", answer, rest, err)
	}
}

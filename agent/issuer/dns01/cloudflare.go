package dns01

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/go-acme/lego/v4/providers/dns/cloudflare"
)

// cloudflareProvider removes records that another process has set: lego's knows
// only the ids of its own.
type cloudflareProvider struct {
	*cloudflare.DNSProvider
	set bool
}

// Present implements challenge.Provider.
func (p *cloudflareProvider) Present(domain, token, keyAuth string) error {
	err := p.DNSProvider.Present(domain, token, keyAuth)
	p.set = p.set || err == nil
	return err
}

// CleanUp implements challenge.Provider.
func (p *cloudflareProvider) CleanUp(domain, token, keyAuth string) error {
	if !p.set { // finds the record, or sets it
		if err := p.Present(domain, token, keyAuth); err != nil {
			return err
		}
	}
	return p.DNSProvider.CleanUp(domain, token, keyAuth)
}

// identical is Cloudflare's code for a record that is there already.
const identical = 81058

// maxRecords bounds what is read of an answer.
const maxRecords = 1 << 20

// again makes a record that is there already as good as a new one.
type again struct{ base http.RoundTripper }

// cloudAnswer is an answer of Cloudflare's API.
type cloudAnswer struct {
	Success bool                 `json:"success"`
	Errors  []struct{ Code int } `json:"errors"`
	Result  json.RawMessage      `json:"result"`
}

// RoundTrip implements http.RoundTripper.
func (a again) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost || req.Body == nil {
		return a.base.RoundTrip(req)
	}
	sent, err := io.ReadAll(req.Body)
	if err = errors.Join(err, req.Body.Close()); err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(sent))
	resp, err := a.base.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		return resp, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRecords))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var answer cloudAnswer
	if json.Unmarshal(body, &answer) != nil || len(answer.Errors) != 1 || answer.Errors[0].Code != identical {
		return resp, nil
	}
	return a.find(req, sent)
}

// find answers with the record that is there.
func (a again) find(req *http.Request, sent []byte) (*http.Response, error) {
	var want struct{ Type, Name, Content string }
	if err := json.Unmarshal(sent, &want); err != nil {
		return nil, err
	}
	look := req.Clone(req.Context())
	look.Method, look.Body, look.ContentLength = http.MethodGet, nil, 0
	look.URL.RawQuery = url.Values{"type": {want.Type}, "name": {want.Name}, "content": {want.Content}}.Encode()
	resp, err := a.base.RoundTrip(look)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRecords))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	var list cloudAnswer
	var records []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(list.Result, &records); err != nil {
		return nil, err
	}
	if len(records) != 1 {
		return nil, errors.New("cloudflare: a record that is there already cannot be found")
	}
	one, err := json.Marshal(cloudAnswer{Success: true, Result: records[0]})
	if err != nil {
		return nil, err
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(one)), int64(len(one))
	return resp, nil
}

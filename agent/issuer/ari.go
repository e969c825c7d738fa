package issuer

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// ErrNoRenewalInfo means that the CA suggests no windows, or cannot for a
// certificate.
var ErrNoRenewalInfo = errors.New("the CA suggests no renewal window")

// RenewalInfo is what a CA suggests for a certificate (RFC 9773, section 4.2).
// Whether it makes sense is for issuance.Suggest to say.
type RenewalInfo struct {
	Start, End time.Time
	RetryAfter time.Duration // 0: not said
}

// CertID is the identifier of a certificate (RFC 9773, section 4.1): what a new
// order says that it replaces. ErrNoRenewalInfo if it has no key identifier of
// its issuer.
func CertID(leaf *x509.Certificate) (string, error) {
	if len(leaf.AuthorityKeyId) == 0 || leaf.SerialNumber == nil {
		return "", fmt.Errorf("identify certificate: %w: it does not name its issuer's key", ErrNoRenewalInfo)
	}
	der, err := asn1.Marshal(leaf.SerialNumber)
	if err != nil {
		return "", fmt.Errorf("identify certificate: %w", err)
	}
	var serial asn1.RawValue
	if _, err := asn1.Unmarshal(der, &serial); err != nil {
		return "", fmt.Errorf("identify certificate: %w", err)
	}
	b64 := base64.RawURLEncoding
	return b64.EncodeToString(leaf.AuthorityKeyId) + "." + b64.EncodeToString(serial.Bytes), nil
}

// RenewalInfo asks the CA for the window of a certificate, named by CertID. Everything but a whole
// answer with two times is an error, never a wish to renew now: a *Problem if
// the CA says what is wrong, ErrNoRenewalInfo if it offers none.
func (c *Client) RenewalInfo(ctx context.Context, id string) (RenewalInfo, error) {
	base := c.core.GetDirectory().RenewalInfo
	if base == "" {
		return RenewalInfo{}, ErrNoRenewalInfo
	}
	if id == "" {
		return RenewalInfo{}, ErrNoRenewalInfo
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+"/"+id, nil)
	if err != nil {
		return RenewalInfo{}, fmt.Errorf("ask for renewal window: %w", err)
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := c.http.Do(req)
	if err != nil {
		return RenewalInfo{}, fmt.Errorf("ask for renewal window: %w", err)
	}
	body, err := io.ReadAll(resp.Body) // bounded by the transport
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return RenewalInfo{}, fmt.Errorf("ask for renewal window: %w", err)
	}
	info, err := readRenewalInfo(body)
	if err != nil {
		return RenewalInfo{}, fmt.Errorf("ask for renewal window: %w", err)
	}
	info.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	return info, nil
}

func readRenewalInfo(body []byte) (RenewalInfo, error) {
	var doc struct {
		Window *struct {
			Start *time.Time `json:"start"`
			End   *time.Time `json:"end"`
		} `json:"suggestedWindow"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return RenewalInfo{}, fmt.Errorf("%w: %w", errAnswer, err)
	}
	if doc.Window == nil || doc.Window.Start == nil || doc.Window.End == nil {
		return RenewalInfo{}, fmt.Errorf("%w: no window in it", errAnswer)
	}
	return RenewalInfo{Start: *doc.Window.Start, End: *doc.Window.End}, nil
}

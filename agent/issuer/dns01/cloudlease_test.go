//go:build dns_cloud

package dns01

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// TestLeaseEndsACloudThatHangs has the server of a cloud take a request and answer
// nothing.
func TestLeaseEndsACloudThatHangs(t *testing.T) {
	bind := testkit.Bind(t, testkit.BindOptions{Zones: []string{"a.test"}})
	var requests atomic.Int32
	asked, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if _, err := io.Copy(io.Discard, r.Body); err != nil { // else it does not see the client go
			t.Error(err)
		}
		asked <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	defer web.Close()
	t.Setenv("AWS_ENDPOINT_URL", web.URL)
	tests := map[string]map[string]string{
		"route53": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hush-hush", "AWS_REGION": "eu-west-1", "AWS_HOSTED_ZONE_ID": "Z1"},
		"gcloud":  {"GCE_SERVICE_ACCOUNT": googleAccount(t, web.URL), "GCE_ZONE_ID": "zone"},
	}
	for name, settings := range tests {
		t.Run(name, func(t *testing.T) {
			requests.Store(0)
			lease, end := context.WithCancel(t.Context())
			done := make(chan error, 1)
			r := responder(t, bind, zoneOf(bind, name, secrets(settings)))
			go func() { done <- r.Present(lease, "a.test", "token", "token.thumbprint") }()
			testkit.Eventually(t, 50*time.Second, "the cloud to be asked", received(asked))
			end()
			if err := <-done; err == nil {
				t.Error("Present() = nil, want an error")
			}
			testkit.Eventually(t, 50*time.Second, "the end of the request", received(gone))
			r.CleanUp(lease, "a.test", "token", "token.thumbprint")
			testkit.Eventually(t, time.Minute, "the end of the call", r.idle)
			if n := requests.Load(); n != 1 {
				t.Errorf("the cloud was asked %d times, want once and never after the lease", n)
			}
		})
	}
}

// googleAccount is the file of an account whose tokens are at a URL.
func googleAccount(t *testing.T, url string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "p", "client_email": "ops@bench.test", "token_uri": url,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

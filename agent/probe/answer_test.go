package probe_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/probe"
	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// answers is a backend that answers with the code in the path, and never for /silent.
func answers(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil {
		<-r.Context().Done()
		return
	}
	w.WriteHeader(code)
	fmt.Fprintf(w, "<h1>The backend answers %d</h1>\n", code) //nolint:errcheck // a test sees it
}

// TestAnswerTellsWhoseErrorItIs: an error of nginx's own from one of a backend.
func TestAnswerTellsWhoseErrorItIs(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(answers))
	defer backend.Close()
	to := func(path string) string { return "location / { proxy_pass " + backend.URL + path + "; }" }
	tests := map[string]struct {
		server string
		want   probe.Answer
	}{
		"page of a backend":             {to("/200"), probe.Answer{Status: 200}},
		"500 of a backend":              {to("/500"), probe.Answer{Status: 500}},
		"503 of a backend":              {to("/503"), probe.Answer{Status: 503}},
		"404 of nginx":                  {"location / { return 404; }", probe.Answer{Status: 404}},
		"500 of nginx":                  {"location / { return 500; }", probe.Answer{Status: 500, Own: true}},
		"503 of nginx, without version": {"server_tokens off; location / { return 503; }", probe.Answer{Status: 503, Own: true}},
		"no backend":                    {fmt.Sprintf("location / { proxy_pass http://127.0.0.1:%d; }", testkit.FreePort(t, "127.0.0.1")), probe.Answer{Status: 502, Own: true}},
		"backend is silent":             {"proxy_read_timeout 100ms; " + to("/silent"), probe.Answer{Status: 504, Own: true}},
		// What cannot be told.
		"502 of a backend":              {to("/502"), probe.Answer{Status: 502, Own: true}},
		"504 of a backend":              {to("/504"), probe.Answer{Status: 504, Own: true}},
		"500 of nginx, page of its own": {`error_page 500 @own; location @own { return 500 "sorry"; } location / { return 500; }`, probe.Answer{Status: 500}},
	}
	address := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t, "127.0.0.1"))
	var text strings.Builder
	names := map[string]string{}
	for name, tt := range tests {
		names[name] = fmt.Sprintf("s%d.test", len(names))
		fmt.Fprintf(&text, "server { listen %s ssl; server_name %s; ssl_certificate cert.pem; ssl_certificate_key key.pem; %s }\n", address, names[name], tt.server)
	}
	serve(t, testkit.NginxOptions{HTTP: text.String()})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := fleet.Listener{Network: "tcp", Address: address, Listen: address, ServerName: names[name]}
			if got, err := new(probe.Prober).Answer(t.Context(), l); err != nil || got != tt.want {
				t.Errorf("Answer() = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

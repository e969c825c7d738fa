package testkit

import (
	"bytes"
	"cmp"
	"io"
	"maps"
	"net/http"
	"strconv"
)

// Status answers with an HTTP status and a line of text, without asking the
// server: 500, 429, 403.
func Status(code int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, "broken by a rule", code)
	}
}

// NotFound answers as Consul does for a key that is not there or that the
// token may not read: 404 without a body, but with an index.
func NotFound(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	setIndex(w, r)
	w.WriteHeader(http.StatusNotFound)
}

// EmptyList answers as Consul does when the token may read none of a list:
// 200, "[]" and an index.
func EmptyList(w http.ResponseWriter, r *http.Request, _ http.Handler) { Body("[]")(w, r, nil) }

// Body answers 200 with text as JSON and an index.
func Body(text string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		setIndex(w, r)
		w.Header().Set("Content-Type", "application/json")
		if _, err := io.WriteString(w, text); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// setIndex repeats the index the request waits beyond, so that an answer
// looks current; 1 if there is none.
func setIndex(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Consul-Index", cmp.Or(r.URL.Query().Get("index"), "1"))
	w.Header().Set("X-Consul-Knownleader", "true")
	w.Header().Set("X-Consul-Lastcontact", "0")
}

// Index passes the real answer with another X-Consul-Index: 0, or one that
// goes backwards as after the restore of a snapshot.
func Index(index uint64) Fault {
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		answer := record(r, pass)
		answer.header.Set("X-Consul-Index", strconv.FormatUint(index, 10))
		answer.send(w, answer.body.Bytes())
	}
}

// Truncate passes the real answer's header and the first half of its body, and
// cuts the connection.
func Truncate(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	answer := record(r, pass)
	body := answer.body.Bytes()
	answer.header.Set("Content-Length", strconv.Itoa(len(body)))
	answer.send(w, body[:len(body)/2])
	if err := http.NewResponseController(w).Flush(); err != nil {
		panic(err)
	}
	Cut(w, r, nil)
}

// Lost lets the server act on the request, and cuts the connection instead of
// answering: the client cannot know.
func Lost(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	record(r, pass)
	Cut(w, r, nil)
}

// Hang answers nothing until the client gives up or the rules change, then it
// cuts the connection.
func Hang(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	<-r.Context().Done()
	Cut(w, r, nil)
}

// Cut closes the connection without an answer.
func Cut(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// recorded is an answer kept in memory; it implements http.ResponseWriter.
type recorded struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func record(r *http.Request, pass http.Handler) *recorded {
	rec := &recorded{header: http.Header{}, code: http.StatusOK}
	pass.ServeHTTP(rec, r)
	return rec
}

func (a *recorded) Header() http.Header { return a.header }

func (a *recorded) WriteHeader(code int) { a.code = code }

func (a *recorded) Write(b []byte) (int, error) { return a.body.Write(b) }

// send answers with the recorded status and header, and with body.
func (a *recorded) send(w http.ResponseWriter, body []byte) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.code)
	if _, err := w.Write(body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

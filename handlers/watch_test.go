package handlers

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// live is what `consul event -name=ssl-session-ticket-refresh "$(openssl rand
// 48 | base64)"` makes a watch write: the payload is base64 of base64.
func live(payload string) string {
	return `[{"ID":"6a55009e-e141-7cba-6468-6ff1ea139057","Name":"ssl-session-ticket-refresh","Payload":"` +
		base64.StdEncoding.EncodeToString([]byte(payload)) + `","NodeFilter":"","ServiceFilter":"","TagFilter":"","Version":1,"LTime":2}]` + "\n"
}

func TestParseWatchReadsWhatConsulWrites(t *testing.T) {
	got, err := ParseWatch([]byte(live("aGVsbG8=\n")))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Name != EventRefresh || got[0].LTime != 2 || string(got[0].Payload) != "aGVsbG8=\n" {
		t.Errorf("ParseWatch() = %+v, want one refresh event with the payload decoded once", got)
	}
}

func TestParseWatchTakesTheEmptyList(t *testing.T) {
	for _, in := range []string{"[]", "[]\n", " [ ] ", "null"} {
		if got, err := ParseWatch([]byte(in)); err != nil || len(got) != 0 {
			t.Errorf("ParseWatch(%q) = %v, %v, want nothing and no error", in, got, err)
		}
	}
}

func TestParseWatchRefuses(t *testing.T) {
	tests := map[string]string{
		"nothing":            "",
		"white space":        " \n",
		"not JSON":           "hello",
		"an object":          `{"ID":"a"}`,
		"a list of strings":  `["a"]`,
		"cut short":          live("x")[:60],
		"two lists":          "[][]",
		"no id":              `[{"Name":"ssl-session-ticket-refresh"}]`,
		"no name":            `[{"ID":"a"}]`,
		"payload not base64": `[{"ID":"a","Name":"n","Payload":"!!"}]`,
		"too long":           "[" + strings.Repeat(" ", MaxWatchInput) + "]",
	}
	for name, in := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseWatch([]byte(in)); !errors.Is(err, ErrWatchInput) {
				t.Errorf("ParseWatch(%.40q) = %v, %v, want ErrWatchInput", in, got, err)
			}
		})
	}
}

func FuzzParseWatch(f *testing.F) {
	f.Add([]byte(live("aGVsbG8=")))
	f.Add([]byte("[]"))
	f.Add([]byte(`[{"ID":"a","Name":"n","LTime":-1}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, err := ParseWatch(data)
		if err != nil && !errors.Is(err, ErrWatchInput) {
			t.Errorf("ParseWatch() error = %v, want one that wraps ErrWatchInput", err)
		}
		for _, e := range events {
			if e.ID == "" || e.Name == "" {
				t.Errorf("ParseWatch() = %+v, want no event without id or name", e)
			}
		}
	})
}

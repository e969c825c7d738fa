package seal_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/seal"
)

// fixed is a keyring that is the same in every run: n keys, each 32 times the
// same byte, from first on.
func fixed(tb testing.TB, first byte, n int) *seal.Keyring {
	tb.Helper()
	var text []byte
	for i := range n {
		text = append(text, keyLine(tb, first+byte(i))...)
	}
	k, err := seal.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// keyLine is the line, with its newline, of the key made of 32 times fill.
func keyLine(tb testing.TB, fill byte) string {
	tb.Helper()
	k, err := seal.Generate(bytes.NewReader(bytes.Repeat([]byte{fill}, 32)))
	if err != nil {
		tb.Fatal(err)
	}
	lines := strings.SplitAfter(string(k.Marshal().Reveal()), "\n")
	return lines[len(lines)-2]
}

func TestGenerate(t *testing.T) {
	a, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := seal.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.IDs()) != 1 || len(a.IDs()[0]) != 8 {
		t.Errorf("IDs() = %q, want one id of 8 digits", a.IDs())
	}
	if a.Marshal().Equal(b.Marshal()) {
		t.Error("two generated keyrings are equal")
	}
}

func TestGenerateRefusesBadRandomSource(t *testing.T) {
	if _, err := seal.Generate(bytes.NewReader(make([]byte, 32))); !errors.Is(err, seal.ErrKeyring) {
		t.Errorf("Generate(zeros) = %v, want ErrKeyring", err)
	}
	if _, err := seal.Generate(bytes.NewReader(make([]byte, 31))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Generate(31 bytes) = %v, want unexpected EOF", err)
	}
}

func TestMarshalParseRoundTrip(t *testing.T) {
	for _, n := range []int{1, 2, seal.MaxKeys} {
		k := fixed(t, 1, n)
		again, err := seal.Parse(k.Marshal().Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if !again.Marshal().Equal(k.Marshal()) || !slices.Equal(again.IDs(), k.IDs()) {
			t.Errorf("Parse(Marshal()) = %v, want %v", again, k)
		}
	}
}

func TestParseAcceptsCommentsAnywhere(t *testing.T) {
	text := "# one\n" + keyLine(t, 1) + "#two\n" + keyLine(t, 2) + "#\n"
	k, err := seal.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := append(fixed(t, 1, 1).IDs(), fixed(t, 2, 1).IDs()...)
	if !slices.Equal(k.IDs(), want) {
		t.Errorf("IDs() = %q, want %q in the order of the file", k.IDs(), want)
	}
}

func TestParseRefuses(t *testing.T) {
	good := keyLine(t, 1)
	other := keyLine(t, 2)
	id := strings.Fields(good)[1]
	long := ""
	for i := range seal.MaxKeys + 1 {
		long += keyLine(t, byte(i+1))
	}
	tests := map[string]struct {
		text string
		want string
	}{
		"empty":             {"", "no keys"},
		"comments only":     {"# nothing\n", "no keys"},
		"no newline":        {strings.TrimSuffix(good, "\n"), "no newline"},
		"cut in second":     {good + other[:20], "line 2"},
		"blank line":        {good + "\n", "line 2"},
		"CR LF":             {strings.ReplaceAll(good, "\n", "\r\n"), "line 1"},
		"trailing space":    {strings.ReplaceAll(good, "\n", " \n"), "line 1"},
		"leading space":     {" " + good, "line 1"},
		"two spaces":        {strings.Replace(good, " ", "  ", 1), "line 1"},
		"other word":        {strings.Replace(good, "key-1", "key-2", 1), "want `tlsfleet-key-1"},
		"two fields":        {"tlsfleet-key-1 " + id + "\n", "want `tlsfleet-key-1"},
		"four fields":       {strings.ReplaceAll(good, "\n", " x\n"), "not base64"},
		"not base64":        {"tlsfleet-key-1 " + id + " !!!!\n", "not base64"},
		"31 bytes":          {"tlsfleet-key-1 " + id + " " + strings.Repeat("AQEB", 10) + "AQ==\n", "31 bytes"},
		"33 bytes":          {"tlsfleet-key-1 " + id + " " + strings.Repeat("AQEB", 11) + "\n", "33 bytes"},
		"zero key":          {"tlsfleet-key-1 " + id + " " + strings.Repeat("A", 43) + "=\n", "zero bytes"},
		"id of another key": {strings.Replace(other, strings.Fields(other)[1], id, 1), "does not belong"},
		"upper-case id":     {strings.Replace(good, id, strings.ToUpper(id), 1), "does not belong"},
		"loose last digit":  {strings.Replace(good, "AQE=\n", "AQF=\n", 1), "extra characters"},
		"duplicate":         {good + other + good, "twice"},
		"17 keys":           {long, "more than 16"},
		"binary":            {"\x00\xff\x80\n", "line 1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := seal.Parse([]byte(tt.text))
			if !errors.Is(err, seal.ErrKeyring) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Parse(...) = %v, want ErrKeyring with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "AQEB") {
				t.Errorf("Parse(...) = %v, shows the key", err)
			}
		})
	}
}

func TestKeyringNeverPrints(t *testing.T) {
	k := fixed(t, 0x5a, 2) // 'Z', base64 "WlpaWlpa", decimal 90
	wrapped := struct {
		hidden *seal.Keyring
		value  seal.Keyring
		Public *seal.Keyring
	}{k, *k, k}
	var out bytes.Buffer
	for _, v := range []any{k, *k, wrapped, &wrapped, []any{k, *k}, map[string]any{"k": *k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v", "%p", "%b", "%08x", "% x"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		slog.New(slog.NewTextHandler(&out, nil)).Info("test", "k", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("test", "k", v)
		for _, asJSON := range []bool{false, true} {
			hclog.New(&hclog.LoggerOptions{Output: &out, JSONFormat: asJSON}).Info("test", "k", v)
		}
	}
	for _, leak := range []string{"ZZZ", "WlpaW", "5a5a5a", "5A5A5A", "5a 5a", "90 90", "0x5a, 0x5a", "1011010 1011010"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("printed keyring shows its keys: %q is in\n%s", leak, out.String())
		}
	}
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	want := "keyring[" + strings.Join(k.IDs(), " ") + "]"
	for _, got := range []string{k.String(), fmt.Sprintf("%x", k), fmt.Sprintf("%+v", *k), strings.Trim(string(text), `"`)} {
		if got != want {
			t.Errorf("printed keyring = %q, want %q", got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("# comment\n"))
	f.Add([]byte(keyLine(f, 1)))
	f.Add([]byte(keyLine(f, 1) + keyLine(f, 2) + "#\n"))
	f.Add([]byte(keyLine(f, 1) + keyLine(f, 1)))
	f.Add([]byte("tlsfleet-key-1 00000000 AAAA\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := seal.Parse(text)
		if err != nil {
			if !errors.Is(err, seal.ErrKeyring) {
				t.Fatalf("Parse(%q) = %v, want ErrKeyring", text, err)
			}
			return
		}
		again, err := seal.Parse(k.Marshal().Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if !again.Marshal().Equal(k.Marshal()) {
			t.Fatalf("Parse(Marshal()) = %v, want %v", again, k)
		}
	})
}

package templates

import (
	"fmt"
	"io"
	"strings"
)

// Value is a text that templates can print in one way only: as Quote makes it.
// Whatever is in it, it is one word of nginx's configuration, or it is refused.
type Value struct{ text string }

// V is the value of a text.
func V(text string) Value { return Value{text} }

// vs is the values of texts.
func vs(texts []string) []Value {
	list := make([]Value, len(texts))
	for i, t := range texts {
		list[i] = V(t)
	}
	return list
}

// Format implements fmt.Formatter: with every verb it writes the quoted text.
// A text that cannot be quoted becomes one that nginx refuses; check finds it
// before that.
func (v Value) Format(w fmt.State, _ rune) {
	quoted, err := Quote(v.text)
	if err != nil {
		quoted = refusedValue
	}
	if _, err := io.WriteString(w, quoted); err != nil {
		return // the writer of a template keeps its error
	}
}

// refusedValue is no directive and no argument that nginx takes.
const refusedValue = `"tlsfleet: a value that cannot be quoted" ;;`

// check says why the value cannot be quoted.
func (v Value) check() error {
	_, err := Quote(v.text)
	return err
}

// joinPath is a path below another as one value.
func joinPath(elements ...any) (Value, error) {
	texts := make([]string, len(elements))
	for i, e := range elements {
		switch e := e.(type) {
		case Value:
			texts[i] = e.text
		case string:
			texts[i] = e
		default:
			return Value{}, fmt.Errorf("path of a %T", e)
		}
	}
	v := V(strings.Join(texts, "/"))
	return v, v.check()
}

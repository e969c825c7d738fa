package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// attribute is one setting of the file: where it goes and what it accepts.
type attribute struct {
	name string
	dst  any // pointer to a field of Config
	set  func(cty.Value) *mistake
}

// check judges a text value; nil accepts it.
type check func(string) *mistake

// required is a text that must not be empty.
func required(name string, dst *string, ok check) attribute {
	return attribute{name, dst, func(v cty.Value) *mistake {
		s, m := asString(v)
		if m == nil && s == "" {
			m = &mistake{"it is empty", "give a value, or remove the line"}
		}
		if m == nil {
			m = ok(s)
		}
		if m == nil {
			*dst = s
		}
		return m
	}}
}

// optional is a text that may be empty, which is as if it were not there.
func optional(name string, dst *string, ok check) attribute {
	strict := required(name, dst, ok)
	return attribute{name, dst, func(v cty.Value) *mistake {
		if s, m := asString(v); m == nil && s == "" {
			*dst = ""
			return nil
		}
		return strict.set(v)
	}}
}

// oneOf is a text from a short list.
func oneOf[T ~string](name string, dst *T, words ...T) attribute {
	return attribute{name, dst, func(v cty.Value) *mistake {
		s, m := asString(v)
		if m != nil {
			return m
		}
		quoted := make([]string, len(words))
		for i, w := range words {
			if s == string(w) {
				*dst = w
				return nil
			}
			quoted[i] = fmt.Sprintf("%q", string(w))
		}
		return &mistake{fmt.Sprintf("%q is not known", s), "use one of " + strings.Join(quoted, ", ")}
	}}
}

// secret is a text that is never shown.
func secret(name string, dst *fleet.Secret) attribute {
	return attribute{name, dst, func(v cty.Value) *mistake {
		s, m := asString(v)
		if m != nil {
			return m
		}
		if strings.TrimSpace(s) != s {
			return &mistake{"it begins or ends with white space", "remove the white space"}
		}
		*dst = fleet.Secret{}
		if s != "" {
			*dst = fleet.NewSecret([]byte(s))
		}
		return nil
	}}
}

// flag is true or false.
func flag(name string, dst *bool) attribute {
	return attribute{name, dst, func(v cty.Value) *mistake {
		if m := wantType(v, cty.Bool, "true or false, without quotes"); m != nil {
			return m
		}
		*dst = v.True()
		return nil
	}}
}

// number is a whole number between two bounds, both included.
func number(name string, dst *int, least, most int) attribute {
	return attribute{name, dst, func(v cty.Value) *mistake {
		give := fmt.Sprintf("a whole number from %d to %d, without quotes", least, most)
		if m := wantType(v, cty.Number, give); m != nil {
			return m
		}
		n, accuracy := v.AsBigFloat().Int64()
		if accuracy != 0 || n < int64(least) || n > int64(most) {
			return &mistake{v.AsBigFloat().String() + " is out of range", "give " + give}
		}
		*dst = int(n)
		return nil
	}}
}

// numbers is a map of words to whole numbers between two bounds, both included.
func numbers(name string, dst *map[string]int, least, most int) attribute {
	example := fmt.Sprintf("a map such as { tlsserver = %d }", most)
	return attribute{name, dst, func(v cty.Value) *mistake {
		if v.IsNull() || !v.Type().IsObjectType() {
			return &mistake{"it is no map", "give " + example}
		}
		out := map[string]int{}
		for key, item := range v.AsValueMap() {
			if m := isPrintable(key); m != nil {
				return m
			}
			var n int
			if m := number(key, &n, least, most).set(item); m != nil {
				return &mistake{key + ": " + m.what, m.hint}
			}
			out[key] = n
		}
		*dst = out
		return nil
	}}
}

// share is a percentage or a number of nodes.
func share(name string, dst *fleet.Share) attribute {
	const hint = `give a percentage such as "25%" or a number of nodes such as "2", in quotes`
	return attribute{name, dst, func(v cty.Value) *mistake {
		s, m := asString(v)
		if m != nil {
			return &mistake{m.what, hint}
		}
		parsed, err := fleet.ParseShare(s)
		if err != nil {
			return &mistake{err.Error(), hint}
		}
		*dst = parsed
		return nil
	}}
}

// span is a duration between two bounds, both included.
func span(name string, dst *time.Duration, least, most time.Duration) attribute {
	return attribute{name, dst, func(v cty.Value) *mistake {
		s, m := asString(v)
		if m != nil {
			return &mistake{m.what, `give a duration in quotes, such as "90s" or "12h"`}
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return &mistake{fmt.Sprintf("%q is not a duration", s), `use the units h, m, s and ms, such as "1h30m"`}
		}
		if d < least || d > most {
			return &mistake{fmt.Sprintf("%q is out of range", s),
				fmt.Sprintf("give a duration from %s to %s", short(least), short(most))}
		}
		*dst = d
		return nil
	}}
}

// spanOrNever is a span in which the word "never" stands for 0.
func spanOrNever(name string, dst *time.Duration, least, most time.Duration) attribute {
	inner := span(name, dst, least, most)
	return attribute{name, dst, func(v cty.Value) *mistake {
		if s, m := asString(v); m == nil && s == "never" {
			*dst = 0
			return nil
		}
		m := inner.set(v)
		if m != nil {
			m.hint += `, or "never"`
		}
		return m
	}}
}

// list is a list of different texts.
func list(name string, dst *[]string, ok check) attribute {
	const example = `a list of texts, such as ["443 ssl"]`
	return attribute{name, dst, func(v cty.Value) *mistake {
		if v.IsNull() || !v.Type().IsTupleType() {
			return wantType(v, cty.List(cty.String), example)
		}
		var out []string
		seen := map[string]bool{}
		for _, item := range v.AsValueSlice() {
			s, m := asString(item)
			if m != nil {
				return &mistake{"in the list, " + m.what, "give " + example}
			}
			if seen[s] {
				return &mistake{fmt.Sprintf("%q is there twice", s), "remove one"}
			}
			if m := ok(s); m != nil {
				return m
			}
			seen[s] = true
			out = append(out, s)
		}
		*dst = out
		return nil
	}}
}

// asString takes a text and nothing that could be converted to one.
func asString(v cty.Value) (string, *mistake) {
	if m := wantType(v, cty.String, "a text in quotes"); m != nil {
		return "", m
	}
	return v.AsString(), nil
}

func wantType(v cty.Value, want cty.Type, give string) *mistake {
	if v.IsNull() {
		return &mistake{"it is null", "give " + give + ", or remove the line"}
	}
	if !v.Type().Equals(want) {
		return &mistake{"it is a " + v.Type().FriendlyName(), "give " + give}
	}
	return nil
}

// short prints a duration without zero units: 720h, not 720h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

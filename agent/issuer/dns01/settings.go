package dns01

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrSettings means that a provider cannot work with the settings it was given.
var ErrSettings = errors.New("unusable settings")

// maxSettings is the largest file with settings or one value, in bytes.
const maxSettings = 64 << 10

// settings are the values of one provider by lego's names of their environment
// variables. What is asked for and cannot be used is kept until check.
type settings struct {
	values  map[string]string
	alias   [2]string // names may begin with the second instead of the first
	asked   []string
	used    map[string]bool
	secrets []string // values that no error may show
	bad     error
}

// read gathers the settings of a zone.
func read(z Zone) (*settings, error) {
	s := &settings{values: map[string]string{}, used: map[string]bool{}}
	for name, value := range z.Settings {
		s.values[name] = string(value.Reveal())
	}
	if z.SettingsFile == "" {
		return s, nil
	}
	text, err := readFile(z.SettingsFile)
	if err != nil {
		return nil, err
	}
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("%w: %s:%d: not NAME=value", ErrSettings, z.SettingsFile, n+1)
		}
		if _, twice := s.values[name]; twice {
			return nil, fmt.Errorf("%w: %s:%d: %s is given twice", ErrSettings, z.SettingsFile, n+1, name)
		}
		s.values[name] = strings.TrimSpace(value)
	}
	return s, nil
}

func readFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxSettings) {
		err = fmt.Errorf("%w: %s: not a file of at most %d KiB", ErrSettings, path, maxSettings>>10)
	}
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	return string(text), err
}

// given is a value by its name, its other name, or the file that one of them
// with _FILE names.
func (s *settings) given(name string) (value string, ok bool) {
	s.asked = append(s.asked, name)
	names := []string{name}
	if s.alias[0] != "" && strings.HasPrefix(name, s.alias[0]) {
		names = append(names, s.alias[1]+strings.TrimPrefix(name, s.alias[0]))
	}
	for _, n := range names {
		if v, there := s.values[n]; there && !ok {
			s.used[n] = true
			value, ok = v, true
		}
		if path, there := s.values[n+"_FILE"]; there && !ok {
			s.used[n+"_FILE"] = true
			text, err := readFile(path)
			s.wrong(n+"_FILE", err)
			value, ok = strings.TrimSpace(text), true
			s.hide(value)
		}
	}
	return value, ok
}

// wrong notes what is wrong with a setting.
func (s *settings) wrong(name string, err error) {
	if err != nil {
		s.bad = errors.Join(s.bad, fmt.Errorf("%w: %s: %w", ErrSettings, name, err))
	}
}

// hide keeps a value out of errors. A short one would hide half a text.
func (s *settings) hide(value string) {
	if len(value) >= 4 {
		s.secrets = append(s.secrets, value)
	}
}

func (s *settings) text(name string) string {
	v, _ := s.given(name)
	return v
}

// secret is a text that no error shows.
func (s *settings) secret(name string) string {
	v := s.text(name)
	s.hide(v)
	return v
}

var (
	errMissing = errors.New("it is missing")
	errNumber  = errors.New("not a whole number that can stand there")
	errFlag    = errors.New("neither true nor false")
	errURL     = errors.New(`not a URL such as "https://dns.example.org/api", without user and password`)
)

// need is a text that must be there.
func (s *settings) need(name string) string {
	v := s.text(name)
	if v == "" {
		s.wrong(name, errMissing)
	}
	return v
}

func (s *settings) number(name string, other int) int {
	v, ok := s.given(name)
	if !ok {
		return other
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 1e6 {
		s.wrong(name, errNumber)
	}
	return n
}

// seconds is a duration, written as a number of seconds as lego does.
func (s *settings) seconds(name string, other time.Duration) time.Duration {
	return time.Duration(s.number(name, int(other/time.Second))) * time.Second
}

func (s *settings) flag(name string, other bool) bool {
	v, ok := s.given(name)
	if !ok {
		return other
	}
	is, err := strconv.ParseBool(v)
	if err != nil {
		s.wrong(name, errFlag)
	}
	return is
}

// list is a text with commas.
func (s *settings) list(name string) []string {
	if v := s.text(name); v != "" {
		return strings.Split(v, ",")
	}
	return nil
}

func (s *settings) url(name string) *url.URL {
	u, err := url.Parse(s.need(name))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		s.wrong(name, errURL)
		return nil
	}
	return u
}

// check is what is wrong with the settings that were asked for, and with those
// that nobody has asked for.
func (s *settings) check() error {
	err := s.bad
	for name := range s.values {
		if !s.used[name] {
			err = errors.Join(err, fmt.Errorf("%w: %s is not known, known are %s", ErrSettings, name, strings.Join(s.known(), ", ")))
		}
	}
	return err
}

func (s *settings) known() []string {
	names := slices.Clone(s.asked)
	slices.Sort(names)
	return slices.Compact(names)
}

// clean is an error in one line without secrets. It wraps the error's marks.
func (s *settings) clean(err error) error {
	if err == nil {
		return nil
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, "[secret]")
		text = strings.ReplaceAll(text, url.QueryEscape(secret), "[secret]")
	}
	return &cleanError{text, err}
}

// cleanError is an error with another text.
type cleanError struct {
	text string
	err  error
}

func (e *cleanError) Error() string { return e.text }
func (e *cleanError) Unwrap() error { return e.err }

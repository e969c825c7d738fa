package store_test

import (
	"errors"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/store"
)

func TestEnsureMeta(t *testing.T) {
	w := shared(t)
	if err := w.CheckMeta(t.Context()); !errors.Is(err, store.ErrMissing) {
		t.Errorf("CheckMeta() on a new fleet = %v, want %v", err, store.ErrMissing)
	}
	session := w.lead(t, "a")
	for range 2 {
		if err := w.EnsureMeta(t.Context(), session); err != nil {
			t.Errorf("EnsureMeta() = %v, want nil", err)
		}
	}
	if err := w.CheckMeta(t.Context()); err != nil {
		t.Errorf("CheckMeta() = %v, want nil", err)
	}
}

func TestEnsureMetaFenced(t *testing.T) {
	w := shared(t)
	session := w.lead(t, "a")
	w.destroy(t, session)
	if err := w.EnsureMeta(t.Context(), session); !errors.Is(err, store.ErrFenced) {
		t.Errorf("EnsureMeta() with a lost session = %v, want %v", err, store.ErrFenced)
	}
	if w.index(t, "meta") != 0 {
		t.Error("meta was written by a former leader")
	}
}

func TestMetaRefuses(t *testing.T) {
	w := shared(t)
	tests := map[string]struct {
		plain string
		want  error
	}{
		"newer schema": {`{"schema":2}`, store.ErrSchema},
		"no schema":    {`{}`, store.ErrRecord},
		"not JSON":     {`x`, store.ErrRecord},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sealed, err := w.keyring.Seal(w.name, w.key("meta"), 1, []byte(test.plain))
			if err != nil {
				t.Fatal(err)
			}
			w.put(t, "meta", sealed)
			if err := w.CheckMeta(t.Context()); !errors.Is(err, test.want) {
				t.Errorf("CheckMeta() = %v, want %v", err, test.want)
			}
			if err := w.EnsureMeta(t.Context(), ""); !errors.Is(err, test.want) {
				t.Errorf("EnsureMeta() = %v, want %v", err, test.want)
			}
		})
	}
	w.put(t, "meta", []byte("forged"))
	if err := w.CheckMeta(t.Context()); !errors.Is(err, store.ErrRecord) {
		t.Errorf("CheckMeta() of a forged record = %v, want %v", err, store.ErrRecord)
	}
}

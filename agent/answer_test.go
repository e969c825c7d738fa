package agent

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/tlsfleet/tlsfleet/agent/config"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

func TestAnswersAreNeverTakenAway(t *testing.T) {
	const one, another = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
	record := func(thumbprint string) store.AnswerRecord {
		return store.AnswerRecord{Answer: store.Answer{Thumbprint: thumbprint}}
	}
	tests := map[string]struct {
		before  string
		rec     store.AnswerRecord
		err     error
		want    string
		changes int
		problem bool
	}{
		"first":      {rec: record(one), want: one, changes: 1},
		"same":       {before: one, rec: record(one), want: one},
		"another":    {before: one, rec: record(another), want: another, changes: 1},
		"missing":    {before: one, err: fmt.Errorf("read: %w", store.ErrMissing), want: one},
		"refused":    {before: one, err: fmt.Errorf("read: %w", store.ErrRecord), want: one, problem: true},
		"no contact": {before: one, err: errors.New("away"), want: one},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			changes := 0
			a := &answers{
				log: hclog.NewNullLogger(), problems: newProblems(func() {}), acme: config.ACME{HTTPListen: []string{"80"}}, thumbprint: tt.before,
				changed: func() { changes++ },
			}
			a.see(tt.rec, tt.err)
			if got := a.challenges(); got.Thumbprint != tt.want || !slices.Equal(got.Listen, a.acme.HTTPListen) {
				t.Errorf("challenges() = %+v, want %s on %q", got, tt.want, a.acme.HTTPListen)
			}
			if changes != tt.changes {
				t.Errorf("told of %d changes, want %d", changes, tt.changes)
			}
			if got := len(a.problems.list()) > 0; got != tt.problem {
				t.Errorf("problems = %+v, want some: %t", a.problems.list(), tt.problem)
			}
		})
	}
}

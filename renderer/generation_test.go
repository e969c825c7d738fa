package renderer

import "testing"

func TestGenerationReplaced(t *testing.T) {
	t.Parallel()
	old := process{pid: 10, start: 1, title: workerTitle}
	leaving := process{pid: 10, start: 1, title: leavingTitle}
	fresh := process{pid: 11, start: 2, title: workerTitle}
	reused := process{pid: 10, start: 2, title: workerTitle}
	tests := map[string]struct {
		now  []process
		want bool
	}{
		"nothing happened":        {[]process{old}, false},
		"new beside old":          {[]process{old, fresh}, false},
		"new beside leaving":      {[]process{leaving, fresh}, true},
		"only new":                {[]process{fresh}, true},
		"only leaving":            {[]process{leaving}, false},
		"none at all":             {nil, false},
		"new one with an old pid": {[]process{reused}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := generationOf([]process{old}).replaced(tt.now); got != tt.want {
				t.Errorf("replaced(%v) = %v, want %v", tt.now, got, tt.want)
			}
		})
	}
}

package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tlsfleet/tlsfleet/agent/doctor"
)

func TestFindUnit(t *testing.T) {
	t.Parallel()
	const unit = "[Unit]\nBefore=nginx.service tlsfleet.service\n[Service]\nExecStart=/usr/bin/tlsfleet restore --wait 5s\n"
	tests := map[string]struct {
		files map[string]string
		want  doctor.Unit
	}{
		"no systemd": {nil, doctor.Unit{}},
		"none": {map[string]string{
			"run/systemd/system/x": "", "usr/lib/systemd/system/tlsfleet.service": "[Service]\nExecStart=/usr/bin/tlsfleet agent\n",
		}, doctor.Unit{Systemd: true}},
		"not enabled": {map[string]string{
			"run/systemd/system/x": "", "usr/lib/systemd/system/tlsfleet-restore.service": unit,
		}, doctor.Unit{Systemd: true, Name: "tlsfleet-restore.service", Before: true}},
		"enabled, of another name": {map[string]string{
			"run/systemd/system/x": "", "etc/systemd/system/keys.service": unit, "etc/systemd/system/multi-user.target.wants/keys.service": unit,
		}, doctor.Unit{Systemd: true, Name: "keys.service", Enabled: true, Before: true}},
		"without an order": {map[string]string{
			"run/systemd/system/x": "", "etc/systemd/system/r.service": "[Service]\nExecStart=/usr/bin/tlsfleet restore\n", "etc/systemd/system/nginx.service.wants/r.service": "",
		}, doctor.Unit{Systemd: true, Name: "r.service", Enabled: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for path, text := range tt.files {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := findUnit(root); got != tt.want {
				t.Errorf("findUnit() = %+v, want %+v", got, tt.want)
			}
		})
	}
}

package renderer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// Bounds of one run of nginx.
const (
	commandTime   = 3 * time.Minute // nginx -t loads every certificate: 0.8 ms each
	commandGrace  = 2 * time.Second // for what it has started; an agent has 5 s to stop
	commandOutput = 64 << 10
)

// nginx runs the nginx binary and returns the head of what it wrote. The
// error is the exit status or why there is none.
func (r *Renderer) nginx(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	out := &boundedBuffer{}
	cmd := exec.CommandContext(ctx, r.cfg.Binary, args...) //nolint:gosec // the operator's own nginx
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, out, commandGrace
	err := cmd.Run()
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return strings.TrimSpace(out.buf.String()), err
}

// boundedBuffer keeps the head of what is written to it.
type boundedBuffer struct{ buf bytes.Buffer }

func (b *boundedBuffer) Write(p []byte) (int, error) {
	b.buf.Write(p[:min(len(p), commandOutput-b.buf.Len())])
	return len(p), nil
}

// refusal is nginx -t's verdict against a configuration.
type refusal struct{ text string }

func (e *refusal) Error() string { return "nginx -t refuses the configuration: " + e.text }

// test runs nginx -t on a main configuration file. A *refusal is nginx's
// verdict; any other error means that nginx could not be asked. The caller
// holds r.mu.
func (r *Renderer) test(ctx context.Context, configFile string) error {
	out, err := r.nginx(ctx, append(r.prefixArguments(ctx), "-t", "-q", "-c", configFile)...)
	var status *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil && errors.As(err, &status) && status.Exited():
		return &refusal{text: out}
	}
	return fmt.Errorf("run nginx -t: %w", err)
}

// build is what nginx says of itself.
type build struct {
	version    string // "1.22.1"
	configFile string // --conf-path; a relative one is under the prefix
	prefix     string // --prefix
	group      string // of the workers without a directive user: --group, else --user; "" if neither
}

var (
	versionPattern = regexp.MustCompile(`(?m)^(?:nginx|[a-z]+) version: [^/\s]+/(\d+(?:\.\d+)+)`)
	optionPattern  = regexp.MustCompile(`--(prefix|conf-path|user|group)=('[^']*'|\S+)`)
)

// askBuild asks the binary.
func (r *Renderer) askBuild(ctx context.Context) (build, error) {
	out, err := r.nginx(ctx, "-V")
	if err != nil {
		return build{}, fmt.Errorf("ask nginx for its version: %w", err)
	}
	b := parseBuild(out)
	if b.version == "" {
		return build{}, fmt.Errorf("ask nginx for its version: no version in %.200q", out)
	}
	return b, nil
}

// parseBuild reads the output of nginx -V.
func parseBuild(out string) build {
	var b build
	var user string
	if m := versionPattern.FindStringSubmatch(out); m != nil {
		b.version = m[1]
	}
	for _, m := range optionPattern.FindAllStringSubmatch(out, -1) {
		value := strings.Trim(m[2], "'")
		switch m[1] {
		case "prefix":
			b.prefix = value
		case "conf-path":
			b.configFile = value
		case "group":
			b.group = value
		case "user":
			user = value
		}
	}
	if b.group == "" {
		b.group = user
	}
	if b.prefix == "" {
		b.prefix = "/usr/local/nginx"
	}
	if b.configFile == "" {
		b.configFile = "conf/nginx.conf"
	}
	return b
}

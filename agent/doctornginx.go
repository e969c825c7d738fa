package agent

import (
	"context"
	"os"

	"github.com/tlsfleet/tlsfleet/agent/doctor"
)

// nginx looks at the nginx of this host and what it is configured to do.
func (x *examiner) nginx(ctx context.Context) []doctor.Finding {
	n := doctor.Nginx{
		Binary: x.cfg.Nginx.Binary, Root: os.Geteuid() == 0, IncludeLine: x.node.IncludeLine(),
	}
	n.Survey, n.Err = x.node.Survey(ctx)
	x.survey = n.Survey
	n.Running, n.Process = x.node.Running(ctx)
	n.Test = x.node.Test(ctx)
	return n.Judge()
}

package config

import (
	"fmt"
	"net/url"
)

// Notify is one receiver of events: a webhook or a program.
type Notify struct {
	Name         string
	Webhook      string // URL; may hold a secret in its path
	KeyFile      string // for the webhook's signature
	AllowPrivate bool   // the webhook may be on an address that is not public
	Command      []string
	Kinds        []string // of events; none: all
}

func notifyLayout(n *Notify) []attribute {
	return []attribute{
		optional("webhook", &n.Webhook, isWebhook),
		optional("key_file", &n.KeyFile, isPath),
		flag("allow_private", &n.AllowPrivate),
		list("command", &n.Command, isArgument),
		list("kinds", &n.Kinds, isKind),
	}
}

// notify reads one block with a receiver.
func (r *reader) notify(labels []string, line int, read func(b block)) {
	full, ok := r.label("notify", labels, line, `notify "chat" { ... }`)
	if !ok {
		return
	}
	n := Notify{Name: labels[0]}
	read(block{full, notifyLayout(&n)})
	if !r.sound(full+".webhook", full+".command", full+".key_file") {
		return
	}
	switch {
	case (n.Webhook == "") == (len(n.Command) == 0):
		r.add(line, fmt.Sprintf("notify %q needs a webhook or a command", n.Name), "give one of the two")
	case (n.Webhook == "") != (n.KeyFile == ""):
		r.add(line, fmt.Sprintf("notify %q: webhook and key_file need each other", n.Name), "give a file with a key of 16 bytes or more for the signature")
	case len(n.Command) > 0 && isPath(n.Command[0]) != nil:
		r.add(r.line(full+".command"), fmt.Sprintf("notify %q: %q is no program", n.Name, n.Command[0]), "give it by its path from /")
	}
	r.cfg.Notify = append(r.cfg.Notify, n)
}

// label checks the label of a block that may come more than once, and returns
// its full name.
func (r *reader) label(kind string, labels []string, line int, example string) (full string, ok bool) {
	if len(labels) != 1 {
		r.add(line, fmt.Sprintf("a %s block needs one name", kind), "write "+example)
		return "", false
	}
	if m := isName(labels[0]); m != nil {
		r.add(line, kind+": "+m.what, m.hint)
		return "", false
	}
	full = kind + "." + labels[0]
	if first, twice := r.lines[full]; twice {
		r.add(line, fmt.Sprintf("second block %s %q", kind, labels[0]), fmt.Sprintf("merge it into the one in line %d", first))
		return "", false
	}
	r.lines[full] = line
	return full, true
}

func isWebhook(s string) *mistake {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return &mistake{"it is not the URL of a webhook", `write one such as "https://hooks.example.org/tls"`}
	}
	return isPrintable(s)
}

func isArgument(s string) *mistake {
	if len(s) > 4096 {
		return &mistake{"an argument is longer than 4096 bytes", "put it into a script"}
	}
	return nil
}

// kinds are those of package notify.
var kinds = []string{"certificate.issued", "certificate.renewed", "certificate.failed", "certificate.parked", "certificate.expiring", "node.problem"}

func isKind(s string) *mistake {
	for _, k := range kinds {
		if s == k {
			return nil
		}
	}
	return &mistake{fmt.Sprintf("%q is no kind of event", s), fmt.Sprintf("use some of %q", kinds)}
}

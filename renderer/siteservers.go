package renderer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	crossplane "github.com/nginxinc/nginx-go-crossplane"

	"github.com/tlsfleet/tlsfleet/templates"
)

// checkServers compares what decides about others, and about who is let in, with
// the site.
func checkServers(text crossplane.Directives, want templates.Site) error {
	names, sockets, servers := wordLines{}, wordLines{}, wordLines{}
	for _, d := range text {
		for _, inner := range d.Block {
			switch what := d.Directive + " " + inner.Directive; {
			case what == "server server_name":
				names.add(inner.Line, inner.Args...)
			case len(inner.Args) == 0:
			case what == "server listen":
				sockets.add(inner.Line, inner.Args[0])
			case what == "upstream server":
				servers.add(inner.Line, upstreamServer(inner.Args[0], inner.Args[1:]...))
			}
		}
	}
	var wantNames, wantServers []string
	for _, n := range want.Names {
		wantNames = append(wantNames, asParsed(n.Name))
	}
	for _, b := range want.Backends {
		parameters := []string{fmt.Sprintf("weight=%d", b.Weight)}
		if b.Backup {
			parameters = append(parameters, "backup")
		}
		wantServers = append(wantServers, upstreamServer(asParsed(b.Address), parameters...))
	}
	if err := names.compare("server names", wantNames); err != nil {
		return err
	}
	if err := sockets.compare("sockets", socketsOf(slices.Concat(want.Listen, want.Plain))); err != nil {
		return err
	}
	if err := servers.compare("servers of the upstream", wantServers); err != nil {
		return err
	}
	return checkTLS(text, want)
}

// checkTLS compares what the servers on sockets with TLS say of it with the site.
// What the site does not have a template may add.
func checkTLS(text crossplane.Directives, want templates.Site) error {
	wanted := map[string][]string{"ssl_protocols": want.Protocols}
	if c := want.Clients; c != nil {
		verify := "on"
		if c.Optional {
			verify = "optional"
		}
		wanted["ssl_verify_client"], wanted["ssl_client_certificate"] = []string{verify}, []string{c.CA}
	}
	plain := socketsOf(want.Plain)
	sockets := slices.DeleteFunc(socketsOf(want.Listen), func(s string) bool { return slices.Contains(plain, s) })
	for _, d := range text {
		said, speaks := map[string][]string{}, false
		for _, inner := range d.Block {
			said[inner.Directive] = append(said[inner.Directive], inner.Args...)
			speaks = speaks || inner.Directive == "listen" && len(inner.Args) > 0 && slices.Contains(sockets, inner.Args[0])
		}
		if d.Directive != "server" || !speaks {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(wanted)) {
			if err := sameWords(said[name], wanted[name]); err != nil {
				return fmt.Errorf("%w: line %d: the server has %s %w", errSiteText, d.Line, name, err)
			}
		}
	}
	return nil
}

func sameWords(got, values []string) error {
	var want []string
	for _, v := range values {
		want = append(want, asParsed(v))
	}
	if got, want = distinct(got), distinct(want); !slices.Equal(got, want) {
		return fmt.Errorf("%.300q, want %.300q", got, want)
	}
	return nil
}

// socketsOf is the first word of each listen directive.
func socketsOf(parameters []string) []string {
	var all []string
	for _, p := range parameters {
		all = append(all, asParsed(strings.Fields(p)[0]))
	}
	return all
}

// upstreamServer is a server with what decides how many requests it gets.
func upstreamServer(address string, parameters ...string) string {
	all := []string{address}
	for _, p := range slices.Sorted(slices.Values(parameters)) {
		if p == "backup" || strings.HasPrefix(p, "weight=") && p != "weight=1" {
			all = append(all, p)
		}
	}
	return strings.Join(all, " ")
}

// wordLines is words of a text, and the first line that has each.
type wordLines map[string]int

func (w wordLines) add(line int, words ...string) {
	for _, word := range words {
		if _, known := w[word]; !known {
			w[word] = line
		}
	}
}

// compare names the line of a word that should not be there, if there is one.
func (w wordLines) compare(what string, words []string) error {
	got, want := slices.Sorted(maps.Keys(w)), distinct(words)
	if slices.Equal(got, want) {
		return nil
	}
	place := ""
	for _, word := range got {
		if !slices.Contains(want, word) {
			place = fmt.Sprintf("line %d: ", w[word])
			break
		}
	}
	return fmt.Errorf("%w: %sits %s are %.300q, want %.300q", errSiteText, place, what, got, want)
}

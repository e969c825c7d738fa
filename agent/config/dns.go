package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// DNS is a DNS provider through which the leader proves names by DNS-01.
type DNS struct {
	Name          string
	At            string   // file:line
	Domains       []string // with all names below them, in stored form; or "*" for all
	WildcardsOnly bool     // other names are proved by HTTP-01
	Provider      string   // as lego names it
	Settings      map[string]fleet.Secret
	SettingsFile  string
	Propagation   time.Duration // until name servers show a record; 0: not awaited
	Nameservers   []string      // host:port, asked for records instead of those of the zone
}

// Files are the files with settings.
func (d DNS) Files() []string {
	var files []string
	if d.SettingsFile != "" {
		files = append(files, d.SettingsFile)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Settings)) {
		path := string(d.Settings[name].Reveal())
		if strings.HasSuffix(name, "_FILE") && filepath.IsAbs(path) {
			files = append(files, path)
		}
	}
	return files
}

func dnsLayout(d *DNS) []attribute {
	return []attribute{
		required("provider", &d.Provider, isName),
		list("domains", &d.Domains, isZone),
		flag("wildcards_only", &d.WildcardsOnly),
		values("settings", &d.Settings),
		optional("settings_file", &d.SettingsFile, isPath),
		spanOrNever("propagation", &d.Propagation, time.Second, time.Hour),
		list("nameservers", &d.Nameservers, isHostPort),
	}
}

// dns reads one block with a DNS provider.
func (r *reader) dns(labels []string, line int, read func(b block)) {
	full, ok := r.label("dns", labels, line, `dns "corp" { ... }`)
	if !ok {
		return
	}
	d := DNS{Name: labels[0], At: fmt.Sprintf("%s:%d", r.mistakes.file, line), Propagation: 2 * time.Minute}
	read(block{full, dnsLayout(&d)})
	if !r.given(full + ".provider") {
		r.add(line, fmt.Sprintf("dns %q has no provider", d.Name), `name one, such as provider = "rfc2136"`)
	}
	if len(d.Domains) == 0 && r.sound(full+".domains") {
		r.add(line, fmt.Sprintf("dns %q has no domains", d.Name), `say what it is for: domains = ["example.org"], or ["*"] for all names`)
	}
	for _, other := range r.cfg.DNS {
		for _, domain := range d.Domains {
			if slices.Contains(other.Domains, domain) {
				r.add(r.line(full+".domains"), fmt.Sprintf("dns %q is for %s, and so is dns %q", d.Name, domain, other.Name), "keep it in one of the two")
			}
		}
	}
	r.cfg.DNS = append(r.cfg.DNS, d)
}

// isZone accepts a domain in stored form, or the asterisk.
func isZone(s string) *mistake {
	if s == "*" {
		return nil
	}
	if err := fleet.CheckDomain(s); err != nil || strings.HasPrefix(s, fleet.Wildcard) {
		return &mistake{fmt.Sprintf("%q is no domain", s), `write it in lower case without a dot at the end, such as "example.org", or "*" for all names`}
	}
	return nil
}

var settingName = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

// values is a map of names to texts that are never shown.
func values(name string, dst *map[string]fleet.Secret) attribute {
	const example = `write settings = { DNSUPDATE_NAMESERVER = "10.0.0.53" }`
	return attribute{name, dst, func(v cty.Value) *mistake {
		if v.IsNull() || !v.Type().IsObjectType() {
			return &mistake{"it is no map", example}
		}
		out := map[string]fleet.Secret{}
		for key, item := range v.AsValueMap() {
			if !settingName.MatchString(key) {
				return &mistake{fmt.Sprintf("%.80q is no name of a setting", key), "use those of lego's documentation: " + example}
			}
			s, m := asString(item)
			if m != nil {
				return &mistake{key + ": " + m.what, m.hint}
			}
			if strings.TrimSpace(s) != s || s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return &mistake{key + " is empty, or has white space at its ends or control characters", "give a value, or put it into a file and its path into " + key + "_FILE"}
			}
			out[key] = fleet.NewSecret([]byte(s))
		}
		*dst = out
		return nil
	}}
}

package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// Archive is a place outside Consul that the leader keeps a copy of the fleet in:
// a folder, an S3 bucket or a PostgreSQL database.
type Archive struct {
	Name      string
	Directory string

	Endpoint      string // of S3: host or host:port
	Bucket        string
	Prefix        string // of the names in the bucket; empty: the fleet's name
	Region        string
	AccessKeyFile string
	SecretKeyFile string
	CAFile        string // roots of the endpoint's HTTPS; empty: the host's
	Insecure      bool   // HTTP, on loopback only

	DSNFile string // with the connection string of PostgreSQL
}

func archiveLayout(a *Archive) []attribute {
	return []attribute{
		optional("directory", &a.Directory, isPath),
		optional("endpoint", &a.Endpoint, isEndpoint),
		optional("bucket", &a.Bucket, isName),
		optional("prefix", &a.Prefix, isObjectPrefix),
		optional("region", &a.Region, isName),
		optional("access_key_file", &a.AccessKeyFile, isPath),
		optional("secret_key_file", &a.SecretKeyFile, isPath),
		optional("ca_file", &a.CAFile, isPath),
		flag("insecure", &a.Insecure),
		optional("dsn_file", &a.DSNFile, isPath),
	}
}

// archive reads one block with an archive.
func (r *reader) archive(labels []string, line int, read func(b block)) {
	full, ok := r.label("archive", labels, line, `archive "offsite" { ... }`)
	if !ok {
		return
	}
	a := Archive{Name: labels[0]}
	read(block{full, archiveLayout(&a)})
	if !r.sound(full+".directory", full+".endpoint", full+".bucket", full+".dsn_file", full+".access_key_file", full+".secret_key_file", full+".ca_file", full+".insecure") {
		return
	}
	if what, hint := a.mistake(); what != "" {
		r.add(line, fmt.Sprintf("archive %q %s", a.Name, what), hint)
	}
	r.cfg.Archives = append(r.cfg.Archives, a)
}

// mistake is what single attributes cannot show; empty: nothing.
func (a Archive) mistake() (what, hint string) {
	kinds := 0
	for _, given := range []string{a.Directory, a.Endpoint, a.DSNFile} {
		if given != "" {
			kinds++
		}
	}
	s3 := a.Bucket != "" || a.Prefix != "" || a.Region != "" || a.AccessKeyFile != "" || a.SecretKeyFile != "" || a.CAFile != "" || a.Insecure
	switch {
	case kinds != 1:
		return "needs one place", "give one of directory, endpoint (S3) and dsn_file (PostgreSQL)"
	case a.Endpoint == "" && s3:
		return "has settings of S3 without an endpoint", "remove them, or give endpoint"
	case a.Endpoint != "" && (a.Bucket == "" || a.AccessKeyFile == "" || a.SecretKeyFile == ""):
		return "lacks settings of S3", "give bucket, access_key_file and secret_key_file"
	case a.Insecure && !loopbackEndpoint(a.Endpoint):
		return "is insecure beyond loopback", "remove insecure: what is sealed shows how many names there are and when they change"
	}
	return "", ""
}

func loopbackEndpoint(endpoint string) bool {
	if ap, err := netip.ParseAddrPort(endpoint); err == nil {
		return ap.Addr().IsLoopback()
	}
	return false
}

func isEndpoint(s string) *mistake {
	if strings.Contains(s, "://") || strings.ContainsAny(s, "/@ ?#") {
		return &mistake{fmt.Sprintf("%q is no host of S3", s), `write it without scheme and path, such as "s3.example.org" or "10.0.0.5:9000"`}
	}
	return isPrintable(s)
}

func isObjectPrefix(s string) *mistake {
	for part := range strings.SplitSeq(s, "/") {
		if m := isName(part); m != nil {
			return &mistake{fmt.Sprintf("%q is no prefix of objects: %s", s, m.what), `write one such as "tlsfleet/edge"`}
		}
	}
	return nil
}

package importer

import (
	"path/filepath"
	"strings"
)

// role is what a file should hold, by its name. What it does hold decides.
type role int

const (
	roleNone role = iota // nothing of a certificate, in a folder
	roleCert
	roleFull // the leaf with its chain
	roleChain
	roleKey
	roleBoth // certificate and key; no name says so
	rolePKCS12
)

var extensions = map[string]role{
	".pem": roleCert, ".crt": roleCert, ".cer": roleCert, ".cert": roleCert, ".der": roleCert,
	".ca-bundle": roleChain, ".key": roleKey, ".p12": rolePKCS12, ".pfx": rolePKCS12,
}

// words name a file without saying whose it is: "privkey.pem".
var words = map[string]role{
	"cert": roleCert, "certificate": roleCert, "fullchain": roleFull,
	"chain": roleChain, "ca": roleChain, "ca-bundle": roleChain, "ca_bundle": roleChain, "bundle": roleChain,
	"issuer": roleChain, "intermediate": roleChain, "intermediates": roleChain,
	"privkey": roleKey, "key": roleKey, "private": roleKey,
}

// numbered are the words that certbot's archive numbers: "privkey3.pem".
var numbered = []string{"fullchain", "privkey", "chain", "cert"}

// ends follow the stem: "a.issuer.crt", "a-key.pem". "ca" is none of them,
// because it is a country.
var ends = []string{"fullchain", "chain", "issuer", "intermediate", "bundle", "ca-bundle", "privkey", "key", "cert"}

// part reads a file name: what the file should hold, and the stem, which all
// files of one certificate have in common and which may be empty.
func part(base string) (role, string) {
	base = strings.ToLower(base)
	ext := filepath.Ext(base)
	r, known := extensions[ext]
	stem := strings.TrimSuffix(base, ext)
	if !known || stem == "" {
		return roleNone, base
	}
	if w, ok := words[stem]; ok {
		return ofExtension(r, w), ""
	}
	for _, word := range numbered {
		if n, ok := strings.CutPrefix(stem, word); ok && strings.Trim(n, "0123456789") == "" {
			return ofExtension(r, words[word]), n
		}
	}
	for _, end := range ends {
		if s, ok := strings.CutSuffix(stem, end); ok && len(s) > 1 && strings.ContainsRune(".-_", rune(s[len(s)-1])) {
			return ofExtension(r, words[end]), s[:len(s)-1]
		}
	}
	return r, stem
}

// ofExtension is what the word says where the extension leaves it open.
func ofExtension(ext, word role) role {
	if ext == roleCert {
		return word
	}
	return ext
}

package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestArchives(t *testing.T) {
	t.Parallel()
	const keys = "\n access_key_file = \"/k\"\n secret_key_file = \"/s\"\n"
	tests := map[string]struct {
		body string
		want string // part of the error; empty: none
	}{
		"directory":         {`directory = "/var/backups"`, ""},
		"s3":                {`endpoint = "s3.example.org"` + "\n bucket = \"b\"\n prefix = \"tlsfleet/edge\"" + keys, ""},
		"s3 on loopback":    {`endpoint = "127.0.0.1:9000"` + "\n bucket = \"b\"\n insecure = true" + keys, ""},
		"postgres":          {`dsn_file = "/etc/dsn"`, ""},
		"nothing":           {``, "needs one place"},
		"two places":        {"directory = \"/a\"\n dsn_file = \"/b\"", "needs one place"},
		"s3 without bucket": {`endpoint = "s3.example.org"` + keys, "lacks settings of S3"},
		"s3 without keys":   {"endpoint = \"s3.example.org\"\n bucket = \"b\"", "lacks settings of S3"},
		"insecure":          {`endpoint = "s3.example.org"` + "\n bucket = \"b\"\n insecure = true" + keys, "insecure beyond loopback"},
		"bucket of a disk":  {"directory = \"/a\"\n bucket = \"b\"", "without an endpoint"},
		"url":               {`endpoint = "https://s3.example.org"`, "is no host of S3"},
		"key in clear":      {`secret_key = "x"`, "unknown attribute"},
		"relative folder":   {`directory = "backups"`, "directory"},
		"prefix up":         {`prefix = "../x"`, "no prefix of objects"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Parse([]byte(fmt.Sprintf("fleet = \"edge\"\narchive \"a\" {\n %s\n}\n", tt.body)), "x.hcl")
			switch {
			case tt.want == "" && (err != nil || len(c.Archives) != 1 || c.Archives[0].Name != "a"):
				t.Errorf("Parse() = %+v, %v, want the archive", c.Archives, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("Parse() = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

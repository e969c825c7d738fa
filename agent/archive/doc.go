// Package archive keeps copies of a fleet's sealed records outside Consul: in a
// folder, in an S3 bucket, in a table of PostgreSQL, or in one file. It says what
// a copy consists of (Manifest) and stores objects by name; it must not know what
// is in them, and never sees one that is not sealed.
package archive

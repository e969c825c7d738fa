// Package importer finds certificates with their keys in files and folders, as
// operators, CAs and the usual ACME clients leave them: PEM, DER and PKCS#12,
// alone or in a folder, and the folders of certbot, lego and acme.sh. It only
// reads, and only so much.
//
// It must not know Consul or what of it is to be stored: whether a certificate
// can be served is for bundle.Check.
package importer

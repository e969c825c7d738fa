// Package packages tests what is installed: the packages as files, and, in a
// Debian that systemd-nspawn boots, as an operator uses them.
package packages

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// identified gives a Chromium a certificate of its user's, which it shows to the
// site at addr without asking: nobody is there to choose one.
func identified(t *testing.T, addr string, cert, key []byte) []chromedp.ExecAllocatorOption {
	t.Helper()
	home := t.TempDir()
	write := func(name string, text []byte, mode os.FileMode) string {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certFile, keyFile, both := write("cert.pem", cert, 0o600), write("key.pem", key, 0o600), filepath.Join(home, "both.p12")
	store := filepath.Join(home, ".pki", "nssdb") // where Chromium looks
	if err := os.MkdirAll(store, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{
		{"openssl", "pkcs12", "-export", "-in", certFile, "-inkey", keyFile, "-out", both, "-passout", "pass:x"},
		{"certutil", "-N", "-d", "sql:" + store, "--empty-password"},
		{"pk12util", "-d", "sql:" + store, "-i", both, "-W", "x", "-K", ""},
	} {
		runToEnd(t, nil, "", argv...).Want(t, 0)
	}
	rule, err := json.Marshal(map[string]any{"pattern": "https://" + addr, "filter": struct{}{}})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := json.Marshal(map[string]any{"AutoSelectCertificateForUrls": []string{string(rule)}})
	if err != nil {
		t.Fatal(err)
	}
	settings := filepath.Dir(filepath.Dir(filepath.Dir(write("etc/policies/managed/certificate.json", policy, 0o600))))
	// Policies are read in one place only: this Chromium sees another folder there.
	start := write("chromium", []byte(`#!/bin/sh
exec unshare --mount sh -ec 'mount --bind "$0" /etc/chromium; exec chromium "$@"' '`+settings+`' "$@"
`), 0o700)
	return []chromedp.ExecAllocatorOption{chromedp.ExecPath(start), chromedp.Env("HOME=" + home)}
}

// readsWithCertificate opens the page as somebody who has no token.
func readsWithCertificate(t *testing.T, addr string, cert, key []byte) context.Context {
	t.Helper()
	ctx := browser(t, 1280, 900, false, append(identified(t, addr, cert, key), chromedp.Flag("ignore-certificate-errors", true))...)
	act(ctx, t, chromedp.Navigate("https://"+addr+"/"), chromedp.WaitReady(chromedp.CSS(`html[data-ready]`)))
	pageSays(ctx, t, "live", "live")
	return ctx
}

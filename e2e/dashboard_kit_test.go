package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/tlsfleet/tlsfleet/agent/testkit"
)

// browserTime bounds what one test does with its browser.
const browserTime = 3 * time.Minute

// browser starts a Chromium that has seen nothing yet, for as long as the test
// takes. It asks for nothing but what it is told to.
func browser(t *testing.T, width, height int64, dark bool, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("find chromium: %v: run 'make deps'", err)
	}
	o := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(filepath.Join(t.TempDir(), "chromium")),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WindowSize(int(width), int(height)), chromedp.WSURLReadTimeout(time.Minute),
	}
	if dark {
		o = append(o, chromedp.Flag("blink-settings", "preferredColorScheme=0"))
	}
	o = append(o, more...)
	timed, stop := context.WithTimeout(t.Context(), browserTime)
	t.Cleanup(stop)
	alloc, end := chromedp.NewExecAllocator(timed, o...)
	t.Cleanup(end)
	ctx, end := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil && timed.Err() == nil {
			t.Logf("end chromium: %v", err)
		}
		end()
	})
	act(ctx, t, chromedp.EmulateViewport(width, height))
	return ctx
}

// act ends the test if the browser cannot do it.
func act(ctx context.Context, t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatalf("drive chromium: %v", err)
	}
}

// look shows the dashboard of an address and waits until all of it is there.
func look(ctx context.Context, t *testing.T, addr string) {
	t.Helper()
	act(ctx, t, chromedp.Navigate("http://"+addr+"/"), chromedp.WaitReady(chromedp.CSS(`html[data-ready]`)))
}

// value is what a script says about the page.
func value[T any](ctx context.Context, t *testing.T, script string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		t.Fatalf("evaluate %s: %v", script, err)
	}
	return v
}

// pageSays waits until an element's text has words in it.
func pageSays(ctx context.Context, t *testing.T, id, words string) {
	t.Helper()
	testkit.Eventually(t, settle, "the words on the page", func() error {
		if text := value[string](ctx, t, `document.getElementById("`+id+`").textContent`); !strings.Contains(text, words) {
			return fmt.Errorf("%s says %q, want %q in it", id, text, words)
		}
		return nil
	})
}

// shot writes what the page looks like into the folder that TLSFLEET_SHOTS names.
func shot(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("TLSFLEET_SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

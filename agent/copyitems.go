package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/tlsfleet/tlsfleet/agent/archive"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// items copies the items that may have changed, and the pages that list them. It
// returns which of the IDs noted are in the copy now.
func (c *copier) items(ctx context.Context, next *archive.Manifest) (done map[string]bool, _ error) {
	done = maps.Clone(c.dirty)
	if c.scan {
		return done, c.scanItems(ctx, next)
	}
	pages := map[int][]string{}
	for id := range done {
		if n, ok := pageOf(id); ok {
			pages[n] = append(pages[n], id)
		}
	}
	c.tell(len(done))
	for _, n := range slices.Sorted(maps.Keys(pages)) {
		page, err := c.page(ctx, n)
		if err != nil {
			return nil, err
		}
		before := len(page)
		ids := pages[n]
		paths := make([]string, len(ids))
		for i, id := range ids {
			paths[i] = store.ItemPath(id)
		}
		now := map[string][]byte{}
		var failed error
		err = c.store.Sealed(ctx, paths, func(i int, sealed []byte, err error) {
			switch {
			case err == nil:
				now[ids[i]] = sealed
			case errors.Is(err, store.ErrMissing):
				delete(page, ids[i])
			default:
				failed = errors.Join(failed, err)
			}
		})
		if err := errors.Join(err, failed); err != nil {
			return nil, err
		}
		if err := c.putPage(ctx, n, page, now, next); err != nil {
			return nil, err
		}
		next.Items += len(page) - before
	}
	return done, nil
}

// pageOf is the page that an ID belongs to.
func pageOf(id string) (int, bool) {
	n, err := strconv.ParseUint(id[:min(len(id), 2)], 16, 8)
	return int(n), err == nil && len(id) > 2
}

// page is what the copy lists in a page.
func (c *copier) page(ctx context.Context, n int) (archive.Page, error) {
	d := c.manifest.Pages[n]
	if d == (archive.Digest{}) {
		return archive.Page{}, nil
	}
	data, err := timely{c.target}.Get(ctx, d.Name(store.PagePath(n)))
	if err == nil && archive.DigestOf(data) != d {
		err = fmt.Errorf("get %s: %w", store.PagePath(n), errCopied)
	}
	if errors.Is(err, archive.ErrMissing) || errors.Is(err, errCopied) {
		c.scan = true // the next pass looks at every item
	}
	if err != nil {
		return nil, err
	}
	return archive.DecodePage(data)
}

// putPage copies items of a page, those that are not there as they are now, and
// then the page.
func (c *copier) putPage(ctx context.Context, n int, page archive.Page, now map[string][]byte, next *archive.Manifest) error {
	group, writing := errgroup.WithContext(ctx)
	group.SetLimit(copyWrites)
	for id, sealed := range now {
		if _, err := c.store.OpenItem(id, sealed); err != nil {
			c.log.Error("item of the journal not copied", "id", id, "err", err)
			delete(page, id)
			continue
		}
		was := page[id]
		page[id] = archive.DigestOf(sealed)
		group.Go(func() error {
			_, err := c.put(writing, store.ItemPath(id), sealed, was)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if len(page) == 0 {
		next.Pages[n] = archive.Digest{}
		return nil
	}
	var err error
	next.Pages[n], err = c.put(ctx, store.PagePath(n), page.Encode(), c.manifest.Pages[n])
	return err
}

// scanItems looks at the whole journal, a page at a time, as a leader does at
// its start.
func (c *copier) scanItems(ctx context.Context, next *archive.Manifest) error {
	total := 0
	for n := range archive.Pages {
		old, err := c.page(ctx, n)
		if errors.Is(err, archive.ErrMissing) || errors.Is(err, archive.ErrManifest) || errors.Is(err, errCopied) {
			old, err = archive.Page{}, nil
		}
		if err != nil {
			return err
		}
		now := map[string][]byte{}
		page := archive.Page{}
		err = c.store.SealedItems(ctx, n, func(id string, sealed []byte) {
			if pn, ok := pageOf(id); !ok || pn != n || archive.CheckName(id) != nil {
				return
			}
			now[id] = sealed
			if d, known := old[id]; known {
				page[id] = d
			}
		})
		if err == nil {
			err = c.putPage(ctx, n, page, now, next)
		}
		if err != nil {
			return err
		}
		total += len(page)
	}
	if total == 0 && c.manifest.Items > 0 && next.Epoch == c.manifest.Epoch {
		return fmt.Errorf("%w: the journal is empty, %d items are copied", errShrunk, c.manifest.Items)
	}
	next.Items = total
	return nil
}

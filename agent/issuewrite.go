package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/bundle"
	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
	"github.com/tlsfleet/tlsfleet/agent/issuer"
	"github.com/tlsfleet/tlsfleet/agent/store"
)

// mostServed is how many certificates one write takes.
const mostServed = 64

// certWriter puts certificates into the inventory and their items into the
// journal. What is obtained at the same time is written together: every write
// changes the inventory's head, and writers of their own would get in each
// other's way.
type certWriter struct {
	term *term
	in   chan obtained
}

// obtained is a certificate on its way to the inventory.
type obtained struct {
	item  issuance.Item
	cert  bundle.Bundle
	began time.Time // of the attempt
	reply chan<- outcome
}

func newCertWriter(t *term) *certWriter { return &certWriter{term: t, in: make(chan obtained)} }

// serve returns when the certificate is in the inventory and the item, which
// then is issued, in the journal.
func (w *certWriter) serve(ctx context.Context, it issuance.Item, b bundle.Bundle, began time.Time) (issuance.Item, error) {
	reply := make(chan outcome, 1)
	select {
	case w.in <- obtained{it, b, began, reply}:
	case <-ctx.Done():
		return it, ctx.Err()
	}
	o := <-reply
	return o.item, o.err
}

// run writes until ctx ends.
func (w *certWriter) run(ctx context.Context) {
	for {
		var batch []obtained
		select {
		case first := <-w.in:
			batch = append(batch, first)
		case <-ctx.Done():
			return
		}
		for more := true; more && len(batch) < mostServed; {
			select {
			case next := <-w.in:
				batch = append(batch, next)
			default:
				more = false
			}
		}
		w.write(ctx, batch)
	}
}

// write puts a batch in, and tells each what became of it.
func (w *certWriter) write(ctx context.Context, batch []obtained) {
	t := w.term
	now := t.now()
	edit := store.Edit{Now: now}
	items := make([]issuance.Item, len(batch))
	var err error
	for i, s := range batch {
		var cert store.Certificate
		var stepErr error
		if items[i], cert, stepErr = finished(s, now); stepErr != nil {
			err = stepErr
			break
		}
		edit.Put = append(edit.Put, cert)
	}
	if err == nil {
		_, err = t.store.EditInventory(ctx, edit, t.session, nil)
	}
	if err == nil {
		err = t.putItems(ctx, items)
	}
	if err != nil && len(batch) > 1 && ctx.Err() == nil && !errors.Is(err, store.ErrFenced) {
		for i := range batch {
			w.write(ctx, batch[i:i+1]) // one that cannot be served holds back no other
		}
		return
	}
	for i, s := range batch {
		if err != nil {
			s.reply <- outcome{item: s.item, err: fmt.Errorf("serve certificate of %s: %w", s.item, err)}
			continue
		}
		t.log.Info("certificate obtained", "names", items[i].String(), "ca", items[i].Cert.CA, "until", items[i].Cert.NotAfter, "renewal", items[i].Next,
			"took", time.Since(s.began).Round(time.Millisecond))
		s.reply <- outcome{item: items[i]}
	}
}

// putItems writes items of the journal, and tells those who copy it.
func (t *term) putItems(ctx context.Context, items []issuance.Item) error {
	err := t.store.PutItems(ctx, items, t.session)
	if t.journaled != nil {
		ids := make([]string, len(items))
		for i, it := range items {
			ids[i] = it.ID()
		}
		t.journaled(ids...) // after an error some may have been written
	}
	return err
}

// dropItems is putItems for items that are deleted.
func (t *term) dropItems(ctx context.Context, ids []string) error {
	err := t.store.DropItems(ctx, ids, t.session)
	if t.journaled != nil {
		t.journaled(ids...)
	}
	return err
}

// finished is an item with its certificate, and the certificate as it is put
// into the inventory.
func finished(s obtained, now time.Time) (issuance.Item, store.Certificate, error) {
	leaf, err := x509.ParseCertificate(s.cert.Leaf)
	if err != nil {
		return s.item, store.Certificate{}, fmt.Errorf("read certificate of %s: %w", s.item, err)
	}
	c := issuance.Cert{
		Bundle: bundle.Hash(s.cert), CA: s.item.Order.CA,
		NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(),
	}
	if c.ID, err = issuer.CertID(leaf); err != nil {
		c.ID = "" // no CA can be asked about it
	}
	it, err := s.item.Finish(c, issuance.RenewAt(s.item.ID(), c.NotBefore, c.NotAfter), now)
	if err != nil {
		return s.item, store.Certificate{}, err
	}
	entry := fleet.Entry{NotAfter: c.NotAfter, Source: fleet.SourceACME, Issuer: leaf.Issuer.CommonName}
	return it, store.Certificate{Bundle: s.cert, Names: it.Names, Entry: entry}, nil
}

package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Writer is an archive that only takes objects, into one file: a tar archive
// with one entry for each.
type Writer struct {
	mu   sync.Mutex
	tar  *tar.Writer
	have map[string]bool
}

// NewWriter writes to w. The file is whole once Finish has returned nil.
func NewWriter(w io.Writer) *Writer { return &Writer{tar: tar.NewWriter(w), have: map[string]bool{}} }

// Put adds an object. One that has been added stays as it is: its name says what
// is in it.
func (w *Writer) Put(ctx context.Context, name string, data []byte) error {
	if err := errors.Join(CheckName(name), ctx.Err()); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.have[name] {
		return nil
	}
	err := w.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: time.Now().Truncate(time.Second),
	})
	if err == nil {
		_, err = w.tar.Write(data)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	w.have[name] = true
	return nil
}

// Get finds nothing.
func (w *Writer) Get(context.Context, string) ([]byte, error) { return nil, ErrMissing }

// List lists nothing.
func (w *Writer) List(context.Context, string, func(Object)) error { return nil }

// Delete deletes nothing.
func (w *Writer) Delete(context.Context, string) error { return nil }

// Close releases nothing.
func (w *Writer) Close() {}

// Finish ends the file.
func (w *Writer) Finish() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.tar.Close(); err != nil {
		return fmt.Errorf("finish file: %w", err)
	}
	return nil
}

// File is an archive that was read from one file.
type File map[string][]byte

// ReadFile reads what a Writer wrote, into memory. The error says that the file
// is none, or not whole.
func ReadFile(r io.Reader) (File, error) {
	f := File{}
	for entries := tar.NewReader(r); ; {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			if len(f) == 0 {
				return nil, errors.New("read copy: the file is empty")
			}
			return f, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read copy: %w", err)
		}
		if err := CheckName(h.Name); err != nil || h.Typeflag != tar.TypeReg {
			return nil, fmt.Errorf("read copy: entry %.80q is none of a copy's", h.Name)
		}
		if f[h.Name], err = readObject(h.Name, entries); err != nil {
			return nil, fmt.Errorf("read copy: %w", err)
		}
	}
}

// Get reads an object.
func (f File) Get(_ context.Context, name string) ([]byte, error) {
	data, ok := f[name]
	if !ok {
		return nil, fmt.Errorf("get %s: %w", name, ErrMissing)
	}
	return data, nil
}

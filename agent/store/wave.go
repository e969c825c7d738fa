package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tlsfleet/tlsfleet/handlers"
)

// MaxWave bounds the record of the wave in bytes.
const MaxWave = 256 << 10

// WaveRecord is the record of the wave as it was read from Consul.
type WaveRecord struct {
	Wave   handlers.Wave
	Serial uint64 // higher with every write: that of a restored snapshot is lower
	Sealed []byte // as stored; a node may keep it on disk
	Index  uint64 // Consul's ModifyIndex; 0: there is none
}

func (r WaveRecord) version() version { return version{r.Index, r.Sealed} }

type waveRecord struct {
	Schema int           `json:"schema"`
	Serial uint64        `json:"serial"`
	Wave   handlers.Wave `json:"wave"`
}

// Wave reads how far a version of the sites has come. ErrMissing if there is no
// record, which says nothing about the sites; ErrRecord if it is refused.
func (s *Store) Wave(ctx context.Context) (WaveRecord, error) {
	q, cancel := read(ctx)
	defer cancel()
	rec, _, err := s.getWave(q) //nolint:contextcheck // q has it
	return rec, err
}

// WatchWave is WatchRing for the wave.
func (s *Store) WatchWave(ctx context.Context, fn func(WaveRecord, error)) error {
	watch(ctx, s.pace, s.getWave, fn)
	return nil
}

func (s *Store) getWave(q *api.QueryOptions) (WaveRecord, *api.QueryMeta, error) {
	pair, meta, err := s.findSealed(wavePath, q)
	if err != nil {
		return WaveRecord{}, meta, err
	}
	rec, err := s.OpenWave(pair.Value)
	rec.Index = pair.ModifyIndex
	return rec, meta, err
}

// OpenWave reads a record of the wave, from Consul or from a local copy. The
// error wraps ErrRecord and the cause.
func (s *Store) OpenWave(sealed []byte) (WaveRecord, error) {
	rec, err := open(s, wavePath, sealed, func(plain []byte) (WaveRecord, uint64, error) {
		w, err := decodeWave(plain)
		return WaveRecord{Wave: w.Wave, Serial: w.Serial}, w.Serial, err
	})
	rec.Sealed = sealed
	return rec, err
}

// PutWave writes the wave if the record is still last; the zero value means that
// there must be none. The session has to hold the leader lock (ErrFenced).
// ErrConflict: somebody else was first.
func (s *Store) PutWave(ctx context.Context, w handlers.Wave, last WaveRecord, session string) (WaveRecord, error) {
	rec := WaveRecord{Wave: w, Serial: max(last.Serial+1, uint64(max(time.Now().UnixMilli(), 1)))}
	plain, err := encodeWave(waveRecord{schema, rec.Serial, w})
	if err != nil {
		return WaveRecord{}, fmt.Errorf("put wave to epoch %d: %w", w.Epoch, err)
	}
	if rec.Sealed, err = s.seal(wavePath, rec.Serial, plain); err != nil {
		return WaveRecord{}, err
	}
	if rec.Index, err = s.put(ctx, wavePath, rec.Sealed, last.Index, session); err != nil {
		return WaveRecord{}, fmt.Errorf("put wave to epoch %d: %w", w.Epoch, err)
	}
	return rec, nil
}

// encodeWave writes a record, the same always as the same bytes.
func encodeWave(r waveRecord) ([]byte, error) {
	if err := r.Wave.Check(); err != nil {
		return nil, err
	}
	r.Wave.Since = r.Wave.Since.UTC().Truncate(time.Millisecond)
	plain, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(plain) > MaxWave {
		return nil, fmt.Errorf("%d bytes, at most %d", len(plain), MaxWave)
	}
	return plain, nil
}

// decodeWave reads what encodeWave wrote and nothing else.
func decodeWave(plain []byte) (waveRecord, error) {
	var frame struct {
		Schema int `json:"schema"`
	}
	if len(plain) > MaxWave {
		return waveRecord{}, fmt.Errorf("%d bytes, at most %d", len(plain), MaxWave)
	}
	if err := json.Unmarshal(plain, &frame); err != nil {
		return waveRecord{}, err
	}
	if frame.Schema != schema {
		return waveRecord{}, fmt.Errorf("%w: schema %d, this tlsfleet reads %d", ErrSchema, frame.Schema, schema)
	}
	var r waveRecord
	if err := json.Unmarshal(plain, &r); err != nil {
		return waveRecord{}, err
	}
	again, err := encodeWave(r)
	if err != nil {
		return waveRecord{}, err
	}
	if !bytes.Equal(again, plain) {
		return waveRecord{}, errors.New("not in canonical form")
	}
	return r, nil
}

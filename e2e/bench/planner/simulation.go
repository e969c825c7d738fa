package main

import (
	"math/rand/v2"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// simulation works on what the planner hands out; an order takes no time.
type simulation struct {
	planner *issuance.Planner
	ca      *ca
	days    int // lifetime of certificates
	random  *rand.Rand

	issued, expired int
	hours           map[int]int // orders in each hour
	decided         time.Duration
	decisions       int
}

// run goes on until a time or until nothing is ahead, and returns when the last
// order was placed.
func (s *simulation) run(from, until time.Time) (last time.Time, err error) {
	for now := from; !now.After(until); {
		began := time.Now()
		it, wait, ok := s.planner.Next(now)
		s.decided += time.Since(began)
		s.decisions++
		switch {
		case ok:
			if it, err = s.work(it, now); err != nil {
				return last, err
			}
			if it.State == issuance.Issued {
				last = now
			}
			began = time.Now()
			s.planner.Set(it, now)
			s.decided += time.Since(began)
		case wait.IsZero():
			return last, nil
		default:
			now = wait
		}
	}
	return last, nil
}

// tick is the mean time of a decision.
func (s *simulation) tick() time.Duration { return s.decided / time.Duration(max(s.decisions, 1)) }

// work is an attempt: parked items fail their preflight again, all others are
// ordered.
func (s *simulation) work(it issuance.Item, now time.Time) (issuance.Item, error) {
	if it.State == issuance.Parked {
		return it.Fail(issuance.Failure{Class: issuance.Recoverable, Stage: issuance.StagePreflight}, s.place(), now)
	}
	if it.Cert != nil && !now.Before(it.Cert.NotAfter) {
		s.expired++
	}
	s.hours[int(now.Sub(start)/time.Hour)]++
	s.ca.order(it, now)
	s.issued++
	return s.ordered(it, now)
}

// ordered is an item with a new certificate and, in the steady case, the window
// that the CA suggests for it: two days around two thirds of its lifetime.
func (s *simulation) ordered(it issuance.Item, now time.Time) (issuance.Item, error) {
	it, err := it.Begin(now)
	if err != nil {
		return it, err
	}
	it, err = it.Place(issuance.Order{CA: "le", Key: fleet.NewSecret([]byte{1}), CSR: []byte{1}}, now)
	if err != nil {
		return it, err
	}
	now = now.UTC().Truncate(time.Second)
	c := issuance.Cert{CA: "le", NotBefore: now, NotAfter: now.AddDate(0, 0, s.days)}
	it, err = it.Finish(c, issuance.RenewAt(it.ID(), c.NotBefore, c.NotAfter), now)
	if err != nil || s.random == nil {
		return it, err
	}
	middle := now.Add(c.NotAfter.Sub(now) * 2 / 3)
	w, ok := issuance.Suggest(middle.AddDate(0, 0, -1), middle.AddDate(0, 0, 1), nil, 0, s.place(), now)
	if !ok {
		return it, nil
	}
	c.Window = &w
	return it.Renew(&w, issuance.RenewBy(it.ID(), c, now))
}

func (s *simulation) place() float64 {
	if s.random == nil {
		return 0
	}
	return s.random.Float64()
}

// begun is an item in the middle of its life: hopeless and parked, or with a
// certificate that was obtained at any time from which it is not renewed yet.
func (s *simulation) begun(it issuance.Item, hopeless bool) (issuance.Item, error) {
	if hopeless {
		it, err := it.Begin(start)
		if err != nil {
			return it, err
		}
		return it.Fail(issuance.Failure{Class: issuance.Hopeless, Stage: issuance.StagePreflight}, s.place(), start)
	}
	for {
		age := time.Duration(s.place() * float64(s.days+2) * 2 / 3 * 24 * float64(time.Hour))
		old, err := s.ordered(it, start.Add(-age))
		if err != nil || old.Cert.Window.Chosen.After(start) {
			return old, err
		}
	}
}

package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/tlsfleet/tlsfleet/agent/issuance"
)

// What is expected.
const (
	steadyNames = 100_000
	mostTick    = time.Millisecond
	mostPeak    = 2.0  // over the mean
	mostSlack   = 0.01 // of the ideal time
)

// errWorse is a figure that is not as expected.
var errWorse = errors.New("not as expected")

// start is when virtual time begins.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// result is what a case has come to.
type result struct {
	name             string
	names            int
	hours, ideal     float64
	refused, expired int
	peakOverMean     float64
	tick             time.Duration
}

// String is the line that is printed.
func (r result) String() string {
	return fmt.Sprintf("bench=planner case=%s names=%d hours=%.2f ideal_hours=%.2f refused=%d expired=%d peak_over_mean=%.2f tick_us=%.1f",
		r.name, r.names, r.hours, r.ideal, r.refused, r.expired, r.peakOverMean, float64(r.tick.Nanoseconds())/1000)
}

// judge names the figures that are not as expected.
func (r result) judge(most time.Duration) error {
	var errs []error
	for _, c := range []struct {
		bad        bool
		what, want string
	}{
		{r.refused > 0, fmt.Sprintf("%d orders that the CA refuses", r.refused), "none"},
		{r.expired > 0, fmt.Sprintf("%d certificates that ended", r.expired), "none"},
		{math.Abs(r.hours-r.ideal) > mostSlack*r.ideal, fmt.Sprintf("%.2f hours", r.hours), fmt.Sprintf("%.2f within 1 %%", r.ideal)},
		{r.peakOverMean > mostPeak, fmt.Sprintf("a peak of %.2f times the mean", r.peakOverMean), "at most twice"},
		{r.tick > most, fmt.Sprintf("%s for a decision", r.tick), "at most " + most.String()},
	} {
		if c.bad {
			errs = append(errs, fmt.Errorf("case %s: %w: %s, want %s", r.name, errWorse, c.what, c.want))
		}
	}
	return errors.Join(errs...)
}

// first is 10,000 names at once, each of a domain of its own.
func first() (result, error) {
	const names = 10_000
	p := issuance.NewPlanner(issuance.NewLedger(issuance.LetsEncrypt, nil))
	for i := range names {
		it, err := issuance.New([]string{fmt.Sprintf("www.customer%05d.com", i)}, "", "", start)
		if err != nil {
			return result{}, err
		}
		p.Set(it, start)
	}
	s := &simulation{planner: p, ca: newCA(), days: 90, hours: map[int]int{}}
	end, err := s.run(start, start.AddDate(0, 0, 10))
	if err != nil {
		return result{}, err
	}
	if s.issued != names {
		return result{}, fmt.Errorf("first: %d of %d names were issued", s.issued, names)
	}
	limit := issuance.LetsEncrypt.Orders
	perHour := float64(limit.Count) / limit.Per.Hours()
	return result{
		name: "first", names: names, hours: end.Sub(start).Hours(), ideal: float64(names-limit.Count) / perHour,
		refused: s.ca.refused, tick: s.tick(),
	}, nil
}

// steady is names with certificates of 45 days, one in twenty of them
// hopeless, for three lifetimes.
func steady(names int) (result, error) {
	const days = 45
	p := issuance.NewPlanner(issuance.NewLedger(issuance.LetsEncrypt, nil))
	s := &simulation{planner: p, ca: newCA(), days: days, hours: map[int]int{}, random: rand.New(rand.NewPCG(1, 2))} //nolint:gosec // repeatable
	for i := range names {
		it, err := issuance.New([]string{fmt.Sprintf("www.customer%06d.com", i)}, "", "", start)
		if err != nil {
			return result{}, err
		}
		if it, err = s.begun(it, i%20 == 0); err != nil {
			return result{}, err
		}
		p.Set(it, start)
	}
	end := start.AddDate(0, 0, 3*days)
	if _, err := s.run(start, end); err != nil {
		return result{}, err
	}
	peak := 0
	for _, n := range s.hours {
		peak = max(peak, n)
	}
	mean := float64(s.issued) / end.Sub(start).Hours()
	return result{
		name: "steady", names: names, hours: end.Sub(start).Hours(), ideal: end.Sub(start).Hours(),
		refused: s.ca.refused, expired: s.expired, peakOverMean: float64(peak) / mean, tick: s.tick(),
	}, nil
}

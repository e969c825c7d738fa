package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// figure is what one contestant has done.
type figure struct {
	who      string
	parallel int
	reject   int // percent of nonces
	certs    int
	took     []time.Duration // of each certificate
	all      time.Duration
	cpu, ca  time.Duration // CPU time of the contestant and of the CA
}

func (f figure) rate() float64 { return float64(f.certs) / f.all.Seconds() }

// at is a percentile of the times, by the nearest rank.
func (f figure) at(p int) time.Duration {
	sorted := slices.Sorted(slices.Values(f.took))
	return sorted[max((len(sorted)*p+99)/100, 1)-1]
}

// String is the figure's line.
func (f figure) String() string {
	each := func(d time.Duration) float64 { return ms(d) / float64(f.certs) }
	return fmt.Sprintf("bench=issue who=%s parallel=%d n=%d nonce_reject=%d certs_per_s=%.1f p50_ms=%.0f p99_ms=%.0f cpu_ms=%.1f ca_cpu_ms=%.1f",
		f.who, f.parallel, f.certs, f.reject, f.rate(), ms(f.at(50)), ms(f.at(99)), each(f.cpu), each(f.ca))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// errSlow is a figure that is not as expected.
var errSlow = errors.New("not as expected")

// What is expected of tlsfleet.
const (
	leastTimes  = 3.0 // lego's rate
	leastReject = 0.8 // of its rate without refused nonces
)

// judge names the figures that are not as expected.
func judge(figures []figure) error {
	type key struct {
		who              string
		parallel, reject int
	}
	rates := map[key]float64{}
	for _, f := range figures {
		rates[key{f.who, f.parallel, f.reject}] = f.rate()
	}
	var errs []error
	for _, f := range figures {
		if f.who != tlsfleetName {
			continue
		}
		if lego, ok := rates[key{legoName, f.parallel, f.reject}]; ok && f.rate() < leastTimes*lego {
			errs = append(errs, fmt.Errorf("%w: parallel=%d: %.1f times the rate of lego, want at least %.0f", errSlow, f.parallel, f.rate()/lego, leastTimes))
		}
		if all, ok := rates[key{f.who, f.parallel, 0}]; ok && f.rate() < leastReject*all {
			errs = append(errs, fmt.Errorf("%w: parallel=%d: %.0f %% of the rate when %d %% of the nonces are refused, want at least %.0f",
				errSlow, f.parallel, 100*f.rate()/all, f.reject, 100*leastReject))
		}
	}
	return errors.Join(errs...)
}

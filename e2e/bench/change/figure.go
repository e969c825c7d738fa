package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/tlsfleet/tlsfleet/e2e/lab"
)

// figure is what one contestant costs at one size.
type figure struct {
	who   string
	n     int
	taken []taken
	bytes int64         // of all of them
	cpu   time.Duration // of all of them
	files int           // of one change
	rss   int64         // bytes, after everything
	peak  int64         // bytes
	cold  time.Duration
	start spent   // CPU of the start
	idle  float64 // of a core; tlsfleet only
}

// spent is the time that processors have spent for the contestant and for Consul.
type spent struct{ own, consul time.Duration }

func (s *scene) spent() (t spent, err error) {
	if t.own, err = lab.CPUTime(s.proc.PID()); err != nil {
		return t, err
	}
	t.consul, err = lab.CPUTime(s.server)
	return t, err
}

func (f figure) times(of func(taken) time.Duration) []time.Duration {
	all := make([]time.Duration, len(f.taken))
	for i, t := range f.taken {
		all[i] = of(t)
	}
	return all
}

func (f figure) file(p int) time.Duration {
	return percentile(f.times(func(t taken) time.Duration { return t.file }), p)
}

func (f figure) served(p int) time.Duration {
	return percentile(f.times(func(t taken) time.Duration { return t.served }), p)
}

func (f figure) bytesEach() int64 { return f.bytes / int64(len(f.taken)) }

// String is the figure's line.
func (f figure) String() string {
	line := fmt.Sprintf("bench=change who=%s n=%d file_p50_ms=%.1f file_p99_ms=%.1f served_p50_ms=%.1f bytes=%d cpu_ms=%.1f files=%d rss_mib=%.0f peak_mib=%.0f cold_s=%.1f cold_cpu_s=%.1f cold_consul_cpu_s=%.1f changes=%d",
		f.who, f.n, ms(f.file(50)), ms(f.file(99)), ms(f.served(50)), f.bytesEach(), ms(f.cpu)/float64(len(f.taken)),
		f.files, mib(f.rss), mib(f.peak), f.cold.Seconds(), f.start.own.Seconds(), f.start.consul.Seconds(), len(f.taken))
	if f.who == tlsfleetName {
		line += fmt.Sprintf(" idle_cpu_percent=%.3f", 100*f.idle)
	}
	return line
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func mib(n int64) float64        { return float64(n) / (1 << 20) }

// errSlow is a figure that is not as expected.
var errSlow = errors.New("not as expected")

// What is expected of tlsfleet.
const (
	mostBytes  = 12_000
	mostTime   = 20 * time.Millisecond // median
	mostGrowth = 1.5                   // of the median, from the smallest size to the largest
	mostMemory = 64 << 20
	leanMemory = 40 << 20 // at small
	mostIdle   = 0.001
	leastCold  = 3 // times faster to start than consul-template
	small      = 100
	large      = 100_000
)

// faster is how many times, at least, tlsfleet is faster than consul-template.
var faster = map[int]float64{10_000: 50, large: 300}

// judge names the figures that are not as expected.
func judge(figures []figure) error {
	var errs []error
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%w: %s", errSlow, fmt.Sprintf(format, args...)))
		}
	}
	var first *figure
	other := map[int]figure{}
	for _, f := range figures {
		if f.who == templateName {
			other[f.n] = f
		}
	}
	for _, f := range figures {
		if f.who != tlsfleetName {
			continue
		}
		if first == nil {
			first = &f
		}
		expect(f.idle <= mostIdle, "n=%d: idle it uses %.3f %% of a core, want at most %.3f", f.n, 100*f.idle, 100*mostIdle)
		expect(float64(f.file(50)) <= mostGrowth*float64(first.file(50)), "n=%d: %s, want at most %.1f times that of n=%d, %s",
			f.n, f.file(50), mostGrowth, first.n, first.file(50))
		o, compared := other[f.n]
		if least, ok := faster[f.n]; ok && compared {
			times := float64(o.file(50)) / float64(f.file(50))
			expect(times >= least, "n=%d: %.0f times faster than consul-template, want at least %.0f", f.n, times, least)
		}
		if f.n <= small {
			expect(f.rss <= leanMemory, "n=%d: %.1f MiB, want at most %.0f", f.n, mib(f.rss), mib(leanMemory))
		}
		if f.n != large {
			continue
		}
		expect(f.bytesEach() <= mostBytes, "n=%d: %d bytes a change, want at most %d", f.n, f.bytesEach(), mostBytes)
		expect(f.file(50) <= mostTime, "n=%d: %s in the median, want at most %s", f.n, f.file(50), mostTime)
		expect(f.rss <= mostMemory, "n=%d: %.0f MiB, want at most %.0f", f.n, mib(f.rss), mib(mostMemory))
		if compared {
			expect(leastCold*f.cold <= o.cold, "n=%d: a start takes %s, want at most a third of consul-template's %s", f.n, f.cold, o.cold)
		}
	}
	return errors.Join(errs...)
}

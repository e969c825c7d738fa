// Package metrics shows what an agent knows and has done in the text format of
// Prometheus. It counts what happens and asks for the rest when it is scraped;
// it knows neither Consul nor nginx, and starts nothing.
//
// Names follow https://prometheus.io/docs/practices/naming/. Times are Unix
// seconds, so that an age is time() minus the metric and stays true when the
// agent is gone.
package metrics

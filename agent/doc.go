// Package agent is the process beside nginx: it wires the parts together, runs
// their loops and offers the fleet's operations to the CLI. The parts decide
// and act in packages of their own; nothing is decided here.
package agent

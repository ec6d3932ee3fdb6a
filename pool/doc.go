// Package pool keeps pools of nodes filled, and knows the states of nodes and
// the only moves between them.
package pool

//go:build !linux

package db

import "net"

// newDialer returns a dialer whose idle connections break when a server has been
// out of reach for silence.
func newDialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 2, Interval: silence / 4, Count: 2},
	}
}

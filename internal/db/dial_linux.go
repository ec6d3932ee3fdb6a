package db

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// newDialer returns a dialer whose connections break when a server has been out of
// reach for silence, be it asked something or not. The system's own patience is a
// quarter of an hour.
func newDialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 2, Interval: silence / 4, Count: 2},
		Control: func(network, _ string, conn syscall.RawConn) error {
			if network == "unix" {
				return nil
			}
			var err error
			if failed := conn.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence/time.Millisecond))
			}); failed != nil {
				return failed
			}
			return err
		},
	}
}

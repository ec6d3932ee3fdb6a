package db

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// breakWhenSilent is a [net.Dialer.Control] that has connections break when what
// was sent is not received for silence. The system's own patience is a quarter of
// an hour.
func breakWhenSilent(network, _ string, conn syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	failed := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence/time.Millisecond))
	})
	if failed != nil {
		return failed
	}
	return err
}

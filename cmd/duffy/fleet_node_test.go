package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// welcome starts an SSH server on all of 127.0.0.0/8 that lets everybody in, says
// that every script went well and proves it, but runs none. It returns its port.
func welcome(t testing.TB) (port int) {
	t.Helper()
	cfg := openServer(t)
	return listenEverywhere(t, func(conn net.Conn) { attend(conn, cfg, prove) })
}

// openServer is an SSH server that everybody may log in to.
func openServer(t testing.TB) *ssh.ServerConfig {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromSigner(private)
	require.NoError(t, err)
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		return &ssh.Permissions{Extensions: map[string]string{"key": string(ssh.MarshalAuthorizedKey(key))}}, nil
	}}
	cfg.AddHostKey(signer)
	return cfg
}

// listenEverywhere has all addresses of this machine answer connections at a port,
// until the test ends.
func listenEverywhere(t testing.TB, answer func(net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answer(conn)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// attend serves a client of SSH, whose commands are run by a function that gets to know
// its key and returns their exit status.
func attend(conn net.Conn, cfg *ssh.ServerConfig, run func(key string, command ssh.Channel) (status uint32)) {
	defer conn.Close()
	server, channels, requests, err := ssh.NewServerConn(conn, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for open := range channels {
		channel, requests, err := open.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				_ = r.Reply(r.Type == "exec", nil)
				if r.Type == "exec" {
					status := run(server.Permissions.Extensions["key"], channel)
					_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
					channel.Close()
				}
			}
		}()
	}
}

// prove reads a script and answers as a node that ran it and has no key but this one.
func prove(key string, script ssh.Channel) (status uint32) {
	words := map[string]string{}
	lines := bufio.NewScanner(script)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		if name == "proof" || name == "nonce" {
			words[name] = value
		}
	}
	mark := words["nonce"] + words["proof"]
	_, _ = fmt.Fprintf(script, "\n%s has\n%s\n%s ends\n", mark, strings.TrimSpace(key), mark)
	return 0
}

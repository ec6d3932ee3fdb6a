package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// A demoDir holds what a demo keeps in files. It is of one process at a time.
type demoDir struct {
	path      string
	temporary bool
	lock      *os.File

	serviceKey, tenantKey demoKey
}

// demoLock is the file that is locked while a demo runs, and by which the
// directory of an earlier one is known.
const demoLock = "duffy-demo.lock"

// openDemoDir makes the directory, or starts over that of an earlier demo, whose
// nodes ended with it. An empty path stands for a temporary directory.
func openDemoDir(path string) (*demoDir, error) {
	d := &demoDir{path: path, temporary: path == ""}
	var err error
	if d.temporary {
		d.path, err = os.MkdirTemp("", "duffy-demo-")
	} else {
		err = os.MkdirAll(path, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("directory for the demo: %w", err)
	}
	if err := d.fill(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *demoDir) fill() (err error) {
	if err := d.claim(); err != nil {
		return err
	}
	for _, name := range []string{"duffy.db", "duffy.db-wal", "duffy.db-shm", "nodes"} {
		if err := os.RemoveAll(d.file(name)); err != nil {
			return err
		}
	}
	if d.serviceKey, err = newDemoKey(d.file("service_key")); err != nil {
		return err
	}
	d.tenantKey, err = newDemoKey(d.file("tenant_key"))
	return err
}

// claim locks the directory, unless it is in use for something else.
func (d *demoDir) claim() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	isLock := func(e os.DirEntry) bool { return e.Name() == demoLock }
	if len(entries) > 0 && !slices.ContainsFunc(entries, isLock) {
		return fmt.Errorf("%s holds files that are not of an earlier demo: choose an empty directory or a new one", d.path)
	}
	if d.lock, err = os.OpenFile(d.file(demoLock), os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	err = syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("another demo is using %s: choose another directory", d.path)
	}
	return err
}

func (d *demoDir) file(name string) string { return filepath.Join(d.path, name) }

// close unlocks the directory and removes it if it is temporary.
func (d *demoDir) close() error {
	if d.lock != nil {
		d.lock.Close()
	}
	if d.temporary {
		return os.RemoveAll(d.path)
	}
	return nil
}

// fate says what becomes of the directory at the end.
func (d *demoDir) fate() string {
	if d.temporary {
		return "is removed"
	}
	return "is kept"
}

// A demoKey is an SSH key in a file of its own.
type demoKey struct {
	ssh.Signer
	file string
}

func newDemoKey(file string) (demoKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return demoKey{}, err
	}
	block, err := ssh.MarshalPrivateKey(private, filepath.Base(file))
	if err != nil {
		return demoKey{}, err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return demoKey{}, err
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return demoKey{}, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	return demoKey{signer, file}, err
}

// authorized returns the public key as in an authorized_keys file.
func (k demoKey) authorized() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.PublicKey())))
}

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/duffy-ci/duffy/internal/config"
)

// lookEvery is how often files of certificates are looked at, at most.
const lookEvery = time.Second

// certificates is the certificate of a server. It follows its files, which are
// small enough to be read now and then: times and sizes of files tell less.
type certificates struct {
	files config.TLS

	mu        sync.Mutex
	looked    time.Time
	cert, key []byte // the files' content when they were last looked at
	current   *tls.Certificate
}

// loadCertificates returns the certificate that a section of the configuration
// names, nil if there is none. Its errors name the place.
func loadCertificates(files *config.Files, section string, names config.TLS) (*certificates, error) {
	if names.Certificate == "" {
		return nil, nil
	}
	cert, certErr := os.ReadFile(names.Certificate)
	if certErr != nil {
		certErr = files.At(certErr, section, "tls", "certificate")
	}
	key, keyErr := os.ReadFile(names.Key)
	if keyErr != nil {
		keyErr = files.At(keyErr, section, "tls", "key")
	}
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, files.At(err, section, "tls")
	}
	return &certificates{files: names, looked: time.Now(), cert: cert, key: key, current: &pair}, nil
}

// certificates returns that of the REST API, nil if there is none.
func (p *program) certificates() (*certificates, error) {
	files, err := p.load()
	if err != nil {
		return nil, err
	}
	return loadCertificates(files, "app", files.Config().App.TLS)
}

// config returns that of a server. While new files do not fit together, it uses
// the last ones that did, and tells the log.
func (c *certificates) config(log *slog.Logger) *tls.Config {
	get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if time.Since(c.looked) >= lookEvery {
			c.looked = time.Now()
			c.look(log)
		}
		return c.current, nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: get}
}

func (c *certificates) look(log *slog.Logger) {
	cert, certErr := os.ReadFile(c.files.Certificate)
	key, keyErr := os.ReadFile(c.files.Key)
	if bytes.Equal(cert, c.cert) && bytes.Equal(key, c.key) {
		return
	}
	c.cert, c.key = cert, key
	err := errors.Join(certErr, keyErr)
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.X509KeyPair(cert, key)
	}
	if err != nil {
		log.Warn("the new certificate is of no use, keeping the old one", "certificate", c.files.Certificate, "key", c.files.Key, "err", err)
		return
	}
	c.current = &pair
	log.Info("using the new certificate", "certificate", c.files.Certificate)
}

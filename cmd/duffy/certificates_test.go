package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An authority is a private one that signs certificates for this machine.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "private"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	a := &authority{dir: t.TempDir(), cert: cert, key: key}
	a.file = a.write(t, "ca.pem", &pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func (a *authority) write(t *testing.T, name string, block *pem.Block) (file string) {
	t.Helper()
	file = filepath.Join(a.dir, name)
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	return file
}

// sign writes a certificate with this number, and its key.
func (a *authority) sign(t *testing.T, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, a.cert, private.Public(), a.key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return a.write(t, fmt.Sprint(serial, ".pem"), &pem.Block{Type: "CERTIFICATE", Bytes: der}),
		a.write(t, fmt.Sprint(serial, ".key"), &pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// shown returns the number of the certificate that a server shows.
func (a *authority) shown(address string, version uint16) (int64, error) {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, MinVersion: version, MaxVersion: version})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

// header returns the header of the answer to a GET by HTTPS.
func (a *authority) header(t *testing.T, url string) http.Header {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: patience}).Get(url)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.Header
}

func (a *authority) requireShown(t *testing.T, address string, serial int64) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		shown, err := a.shown(address, tls.VersionTLS13)
		require.NoError(c, err)
		require.Equal(c, serial, shown)
	}, patience, 50*time.Millisecond)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, text, 0o600))
}

// TestTLS serves both APIs with certificates that change, and uses them with the
// programs of operators and tenants.
func TestTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	certs, keys := map[int64]string{}, map[int64]string{}
	for serial := range int64(4) {
		certs[serial+2], keys[serial+2] = a.sign(t, serial+2)
	}
	cert, key := filepath.Join(a.dir, "server.pem"), filepath.Join(a.dir, "server.key")
	copyFile(t, certs[2], cert)
	copyFile(t, keys[2], key)
	port, oldPort := freePort(t), freePort(t)
	file := writeConfig(t, `
app: {port: %d, tls: {certificate: %[2]q, key: %[3]q}}
metaclient: {port: %[4]d, tls: {certificate: %[2]q, key: %[3]q}}
database: {url: "sqlite:///%[5]s/duffy.sqlite"}
client: {url: "https://127.0.0.1:%[1]d/api/v1", auth: {name: tenant, key: %[6]s}}
`, port, cert, key, oldPort, a.dir, testKey("tenant"))
	var out, errs strings.Builder
	require.Zero(t, run(t.Context(), []string{"-c", file, "setup-db", "--test-data"}, &out, &errs), errs.String())
	s := startServing(t, "-c", file, "run")
	address, oldAddress := fmt.Sprint("127.0.0.1:", port), fmt.Sprint("127.0.0.1:", oldPort)
	a.requireShown(t, address, 2)
	a.requireShown(t, oldAddress, 2)
	require.Contains(t, s.stdout.String(), fmt.Sprintf("Serving API docs on https://%s/docs/", address))
	_, err := a.shown(address, tls.VersionTLS11)
	require.ErrorContains(t, err, "protocol version")
	shown, err := a.shown(address, tls.VersionTLS12)
	require.NoError(t, err)
	require.EqualValues(t, 2, shown)

	copyFile(t, certs[3], cert)
	copyFile(t, keys[3], key)
	a.requireShown(t, address, 3)
	a.requireShown(t, oldAddress, 3)

	const complaint = "the new certificate is of no use"
	for _, spoil := range []func(){
		func() { copyFile(t, certs[4], cert) }, // whose key is still to come
		func() { require.NoError(t, os.WriteFile(cert, []byte("-----BEGIN CERT"), 0o600)) },
		func() { require.NoError(t, os.Remove(key)) },
	} {
		before := strings.Count(s.stderr.String(), complaint)
		spoil()
		require.Eventually(t, func() bool {
			_, err := a.shown(address, tls.VersionTLS13)
			return err == nil && strings.Count(s.stderr.String(), complaint) > before
		}, patience, 50*time.Millisecond)
		a.requireShown(t, address, 3)
	}
	copyFile(t, certs[5], cert)
	copyFile(t, keys[5], key)
	a.requireShown(t, address, 5)
	require.NotContains(t, s.stderr.String(), "PRIVATE KEY")
	for _, url := range []string{"https://" + address + "/api/v1/pools", "https://" + oldAddress + "/Inventory"} {
		header := a.header(t, url)
		require.NotEmpty(t, header.Get("Strict-Transport-Security"), url)
		require.Equal(t, "no-store", header.Get("Cache-Control"), url)
		require.Equal(t, "no-referrer", header.Get("Referrer-Policy"), "keys are in the URLs of the legacy API")
	}

	program := func(trust string, args ...string) (stdout, stderr string, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var out, errs strings.Builder
		cmd := programIn(ctx, t, a.dir, append([]string{"-c", file}, args...)...)
		cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+trust)
		cmd.Stdout, cmd.Stderr = &out, &errs
		err = cmd.Run()
		return out.String(), errs.String(), err
	}
	stdout, stderr, err := program(a.file, "client", "list-sessions")
	require.NoError(t, err, stderr)
	require.Contains(t, stdout, `"sessions": []`)
	_, stderr, err = program(os.DevNull, "client", "list-sessions")
	require.Error(t, err)
	require.Contains(t, stderr, "certificate signed by unknown authority")

	s.stop()
	s.requireStopped(t)
}

// TestLegacyOverTLS has the legacy API on its own reach a REST API whose
// certificate is from a private authority.
func TestLegacyOverTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	cert, key := a.sign(t, 2)
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	rest := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"sessions": []}`)
	}), ReadHeaderTimeout: patience}
	go func() { _ = rest.Serve(listener) }()
	defer rest.Close()

	port := freePort(t)
	file := writeConfig(t, "metaclient: {port: %d, dest: 'https://%s'}", port, listener.Addr())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := programIn(ctx, t, a.dir, "-c", file, "serve-legacy")
	cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+a.file)
	require.NoError(t, cmd.Start())
	require.Equal(t, "200 []", askUntil(t, fmt.Sprintf("http://127.0.0.1:%d/Inventory", port)))
	cancel()
	_ = cmd.Wait()
}

// TestBadCertificates has mistakes told, with their places, before anything is
// started or made.
func TestBadCertificates(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	cert, key := a.sign(t, 2)
	_, otherKey := a.sign(t, 3)
	for name, tt := range map[string]struct{ cert, key, want string }{
		"missing certificate": {"gone.pem", key, ":4: %s.tls.certificate: open gone.pem: no such file"},
		"missing key":         {cert, "gone.key", ":5: %s.tls.key: open gone.key: no such file"},
		"no pair":             {cert, otherKey, ":3: %s.tls: tls: private key does not match public key"},
		"the wrong way round": {key, cert, ":3: %s.tls: tls: failed to find certificate PEM data"},
		"no key":              {cert, "''", ":3: %s.tls: certificate and key belong together"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for section, commands := range map[string][]string{
				"app": {"config check", "serve", "run"}, "metaclient": {"config check", "serve-legacy", "run"},
			} {
				dir := t.TempDir()
				config := fmt.Sprintf("%s:\n  port: %d\n  tls:\n    certificate: %s\n    key: %s\ndatabase: {url: 'sqlite:///duffy.sqlite'}\n",
					section, freePort(t), tt.cert, tt.key)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "duffy.yaml"), []byte(config), 0o600))
				for _, command := range commands {
					code, _, stderr := runProgram(t, dir, append([]string{"-c", "duffy.yaml"}, strings.Fields(command)...)...)
					require.Equal(t, exitFailure, code, command)
					require.Contains(t, stderr, fmt.Sprintf("duffy: duffy.yaml"+tt.want, section), command)
					require.NotContains(t, stderr, "PRIVATE KEY")
				}
			}
		})
	}
}

// Package dbtest gives tests and benchmarks databases of their own.
//
// PostgreSQL is a server that the first test of a test binary starts, and that
// ends with the test binary however that ends; no TestMain is needed. If
// DUFFY_TEST_POSTGRES_URL is set, the databases are made on that server instead.
package dbtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
)

// Each runs f on an empty Duffy database of each kind, as the subtests "postgres"
// and "sqlite".
func Each(t *testing.T, f func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) { f(t, Postgres(t)) })
	t.Run("sqlite", func(t *testing.T) { f(t, SQLite(t)) })
}

// EachEncoding is Each with PostgreSQL databases in encodings that operators have, as
// subtests too.
func EachEncoding(t *testing.T, f func(t *testing.T, d *db.DB)) {
	t.Helper()
	Each(t, f)
	for _, encoding := range []string{"SQL_ASCII", "LATIN1"} {
		t.Run("postgres "+encoding, func(t *testing.T) { f(t, PostgresIn(t, encoding)) })
	}
}

// PostgresIn is Postgres with a database in an encoding.
func PostgresIn(t testing.TB, encoding string) *db.DB {
	t.Helper()
	return open(t, PostgresURLIn(t, encoding))
}

// PostgresURLIn is PostgresURL with a database in an encoding.
func PostgresURLIn(t testing.TB, encoding string) string {
	t.Helper()
	return fast.create(t, func() (string, error) {
		return "template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING '" + encoding + "'", nil
	})
}

// SQLite returns a new SQLite database with Duffy's schema, in a file.
func SQLite(t testing.TB) *db.DB {
	t.Helper()
	return open(t, "sqlite:///"+filepath.Join(t.TempDir(), "duffy.db"))
}

// Postgres returns a new PostgreSQL database with Duffy's schema. The server does
// not wait for its disk. Without PostgreSQL the test is skipped, or fails if CI
// is set.
func Postgres(t testing.TB) *db.DB {
	t.Helper()
	return open(t, fast.create(t, fast.template))
}

// PostgresURL returns the URL of a new PostgreSQL database with nothing in it, on
// the server that Postgres uses.
func PostgresURL(t testing.TB) string {
	t.Helper()
	return fast.create(t, func() (string, error) { return "template1", nil })
}

// PostgresDurable is Postgres on a server with PostgreSQL's default settings, which
// waits for its disk: for benchmarks whose figures are to mean something.
func PostgresDurable(t testing.TB) *db.DB {
	t.Helper()
	return open(t, durable.create(t, durable.template))
}

// PostgresDurableURL returns the URL of a new PostgreSQL database with nothing in
// it, on the server that PostgresDurable uses.
func PostgresDurableURL(t testing.TB) string {
	t.Helper()
	return durable.create(t, func() (string, error) { return "template1", nil })
}

// open opens a database, sets up the schema, and closes it when the test ends.
func open(t testing.TB, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url, db.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	_, _, err = db.Migrate(t.Context(), d)
	require.NoError(t, err)
	return d
}

// create makes a copy of a database, which is dropped when the test ends, and
// returns its URL.
func (s *server) create(t testing.TB, template func() (string, error)) string {
	t.Helper()
	url, err := s.url()
	if err != nil {
		unavailable(t, err)
	}
	original, err := template()
	require.NoError(t, err)
	name := "duffy_test_" + strings.ToLower(rand.Text())
	admin, err := db.Open(t.Context(), url, db.Config{MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := admin.ExecContext(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
		require.NoError(t, err)
		require.NoError(t, admin.Close())
	})
	_, err = admin.ExecContext(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+original)
	require.NoError(t, err)
	return withDatabase(url, name)
}

// unavailable ends a test that can't have PostgreSQL.
func unavailable(t testing.TB, err error) {
	t.Helper()
	message := fmt.Sprintf("no PostgreSQL (Debian: apt-get install postgresql): %v", err)
	if os.Getenv("CI") != "" {
		t.Fatal(message)
	}
	t.Skip(message)
}

// withDatabase replaces the database in a URL.
func withDatabase(url, name string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	authority, rest, _ := strings.Cut(rest, "/")
	if _, options, found := strings.Cut(rest, "?"); found {
		name += "?" + options
	}
	return scheme + "://" + authority + "/" + name
}

package db

import (
	"errors"
	"regexp"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const pgUniqueViolation = "23505"

// sqliteConstraints gives the names that the constraints have on PostgreSQL:
// SQLite names the columns instead.
var sqliteConstraints = map[string]string{
	"tenants.name":   "tenants_name_key",
	"nodes.hostname": "active_hostname_index",
	"nodes.ipaddr":   "active_ipaddr_index",
}

var sqliteUnique = regexp.MustCompile(`UNIQUE constraint failed: ([\w., ]*\w)`)

// UniqueViolation tells whether err says that a row exists already, and by which
// constraint or unique index of the schema.
func UniqueViolation(err error) (constraint string, ok bool) {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == pgUniqueViolation {
		return pg.ConstraintName, true
	}
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return "", false
	}
	if c := lite.Code(); c != sqlite3.SQLITE_CONSTRAINT_UNIQUE && c != sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
		return "", false
	}
	m := sqliteUnique.FindStringSubmatch(lite.Error())
	if m == nil {
		return "", true
	}
	if name, known := sqliteConstraints[m[1]]; known {
		return name, true
	}
	return m[1], true
}

package db

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Shell returns the program that a human works with on the database at url: psql,
// or sqlite3 on a file, which has to exist. It connects as Open does. What psql
// has to know is in its environment, since others can see its command line. Input
// and output, and how long it runs, are up to the caller.
func Shell(url string) (*exec.Cmd, error) {
	loc, err := parseURL(url)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	if loc.dialect == "sqlite" {
		return loc.sqlite3()
	}
	return loc.psql()
}

func (l location) psql() (*exec.Cmd, error) {
	cmd := exec.Command("psql")
	if cmd.Err != nil {
		return nil, fmt.Errorf("psql has to be installed, which is part of PostgreSQL's client programs: %w", cmd.Err)
	}
	cmd.Env = append(os.Environ(), l.environment()...)
	return cmd, nil
}

// sqlite3 has the same settings as the connections of Open, as far as they are
// not the file's.
func (l location) sqlite3() (*exec.Cmd, error) {
	if l.inMemory() {
		return nil, errors.New("the database is in the memory of the process that uses it, where no shell gets to")
	}
	path, err := filepath.Abs(l.database) // which is no option, whatever its first letter
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("there is no database yet: %w", err)
	}
	cmd := exec.Command("sqlite3", "-cmd", ".timeout 10000", "-cmd", "PRAGMA foreign_keys=ON", path)
	if cmd.Err != nil {
		return nil, fmt.Errorf("sqlite3 has to be installed: %w", cmd.Err)
	}
	return cmd, nil
}

// libpqVariables are the environment variables for settings.
var libpqVariables = map[string]string{
	"application_name":     "PGAPPNAME",
	"channel_binding":      "PGCHANNELBINDING",
	"connect_timeout":      "PGCONNECT_TIMEOUT",
	"dbname":               "PGDATABASE",
	"host":                 "PGHOST",
	"krbsrvname":           "PGKRBSRVNAME",
	"options":              "PGOPTIONS",
	"passfile":             "PGPASSFILE",
	"port":                 "PGPORT",
	"require_auth":         "PGREQUIREAUTH",
	"service":              "PGSERVICE",
	"servicefile":          "PGSERVICEFILE",
	"sslcert":              "PGSSLCERT",
	"sslcertmode":          "PGSSLCERTMODE",
	"sslkey":               "PGSSLKEY",
	"sslmode":              "PGSSLMODE",
	"sslnegotiation":       "PGSSLNEGOTIATION",
	"sslrootcert":          "PGSSLROOTCERT",
	"sslsni":               "PGSSLSNI",
	"target_session_attrs": "PGTARGETSESSIONATTRS",
	"timezone":             "PGTZ",
	"user":                 "PGUSER",
}

// environment returns settings and password as libpq reads them. What it has no
// variable for is of use to pgx only, but for the search path.
func (l location) environment() []string {
	settings, _ := l.settings()
	if path := settings["search_path"]; path != "" {
		settings["options"] += " -c search_path=" + strings.NewReplacer(`\`, `\\`, ` `, `\ `).Replace(path)
	}
	var env []string
	for name, value := range settings {
		if variable := libpqVariables[name]; variable != "" {
			env = append(env, variable+"="+value)
		}
	}
	if password := l.secret(); password != "" {
		env = append(env, "PGPASSWORD="+password)
	}
	return env
}

package db

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPostgresURLs(t *testing.T) {
	for url, want := range map[string]map[string]string{
		"postgresql://duffy:secret@db.example.net:5433/duffy":      {"user": "duffy", "password": "secret", "host": "db.example.net", "port": "5433", "dbname": "duffy"},
		"postgres://db.example.net/duffy":                          {"host": "db.example.net", "dbname": "duffy"},
		"postgresql+psycopg2://duffy@db/duffy":                     {"user": "duffy", "host": "db", "dbname": "duffy"},
		"postgresql+asyncpg:///duffy":                              {"dbname": "duffy"},
		" postgresql:///duffy\n":                                   {"dbname": "duffy"},
		"postgresql://":                                            {},
		"postgresql+asyncpg:///duffy?host=/run/postgresql":         {"host": "/run/postgresql", "dbname": "duffy"},
		"postgresql://u@/d?host=%2Frun%2Fpg&port=5433":             {"user": "u", "host": "/run/pg", "port": "5433", "dbname": "d"},
		"postgresql://u@/d?host=%2Fa:b&host=::1&host=[::2]:6":      several("u", "/a:b,::1,::2", "5432,5432,6"),
		"postgresql://u@/d?host=a&host=b":                          several("u", "a,b", ""),
		"postgresql://u@/d?host=a:1&host=b:2":                      several("u", "a,b", "1,2"),
		"postgresql://u@/d?host=a:1&host=b":                        several("u", "a,b", "1,5432"),
		"postgresql://u@/d?host=a,b&port=1,2":                      several("u", "a,b", "1,2"),
		"postgresql://u@/d?host=a,b&port=1":                        several("u", "a,b", "1,1"),
		"postgresql+asyncpg://u@a:1,b:2/d":                         several("u", "a,b", "1,2"),
		"postgresql://u@a,[::1]:2,c/d":                             several("u", "a,::1,c", "5432,2,5432"),
		"postgresql://u@a,b/d?target_session_attrs=any":            several("u", "a,b", "", "target_session_attrs", "any"),
		"postgresql://u@a,b/d?connect_timeout=7":                   several("u", "a,b", "", "connect_timeout", "7"),
		"postgresql://u:p%40ss%3A%2F%23w@h/d":                      {"user": "u", "password": "p@ss:/#w", "host": "h", "dbname": "d"},
		"postgresql://u:p#s/s?w:%@h/d":                             {"user": "u", "password": "p#s/s?w:%", "host": "h", "dbname": "d"},
		"postgresql://d%C3%BCffy:a+b@h/d":                          {"user": "düffy", "password": "a+b", "host": "h", "dbname": "d"},
		"postgresql://u@[::1]:5432/d":                              {"user": "u", "host": "::1", "port": "5432", "dbname": "d"},
		"postgresql://h/d?sslmode=verify-full&sslrootcert=/ca.pem": {"host": "h", "dbname": "d", "sslmode": "verify-full", "sslrootcert": "/ca.pem"},
		"postgresql+asyncpg://h/d?ssl=require":                     {"host": "h", "dbname": "d", "sslmode": "require"},
		"postgresql://h/d?sslmode=disable&ssl=require":             {"host": "h", "dbname": "d", "sslmode": "disable"},
		"postgresql://h/d?application_name=x&connect_timeout=3":    {"host": "h", "dbname": "d", "application_name": "x", "connect_timeout": "3"},
		"postgresql://h/d?pool_max_conns=7":                        {"host": "h", "dbname": "d", "pool_max_conns": "7"},
		"postgresql+asyncpg://h/d?prepared_statement_cache_size=0&async_fallback=true&command_timeout=5": {"host": "h", "dbname": "d"},
	} {
		loc, err := parseURL(url)
		require.NoError(t, err, url)
		require.Equal(t, "postgresql", loc.dialect, url)
		got, _ := loc.settings()
		if loc.password != "" {
			got["password"] = loc.password
		}
		for name, value := range map[string]string{"application_name": "duffy", "connect_timeout": "10", "timezone": "UTC", "client_encoding": "UTF8"} {
			if want[name] == "" {
				require.Equal(t, value, got[name], "%s: %s", url, name)
				delete(got, name)
			}
		}
		require.Equal(t, want, got, url)
	}
}

// several returns the settings for several hosts, one of which has to take writes.
func several(user, hosts, ports string, more ...string) map[string]string {
	settings := map[string]string{
		"user": user, "host": hosts, "dbname": "d", "target_session_attrs": "read-write", "connect_timeout": "3",
	}
	if ports != "" {
		settings["port"] = ports
	}
	for i := 0; i < len(more); i += 2 {
		settings[more[i]] = more[i+1]
	}
	return settings
}

func TestOptionsWithoutMeaning(t *testing.T) {
	loc, err := parseURL("postgresql+asyncpg://h/d?prepared_statement_cache_size=0&async_fallback=true&application_name=x&password=y")
	require.NoError(t, err)
	_, ignored := loc.settings()
	require.Equal(t, []string{"async_fallback", "prepared_statement_cache_size"}, ignored)
}

func TestConnStringIsQuoted(t *testing.T) {
	require.Equal(t, `dbname='it\'s' host='\\a' `, connString(map[string]string{"host": `\a`, "dbname": "it's"}))
}

func TestSQLiteURLs(t *testing.T) {
	for url, database := range map[string]string{
		"sqlite://":                              "",
		"sqlite:///:memory:":                     ":memory:",
		"sqlite:///relative.db":                  "relative.db",
		"sqlite+aiosqlite:///dir/duffy.db":       "dir/duffy.db",
		"sqlite+pysqlite:////var/lib/x#y%20.db":  "/var/lib/x#y%20.db",
		"sqlite:////absolute.db?timeout=5&uri=1": "/absolute.db",
	} {
		loc, err := parseURL(url)
		require.NoError(t, err, url)
		require.Equal(t, location{dialect: "sqlite", database: database}, location{dialect: loc.dialect, database: loc.database}, url)
	}
}

func TestBadURLs(t *testing.T) {
	bad := map[string]string{
		"":                                     "empty",
		"duffy":                                "not of the form",
		"user:secret@host/duffy":               "not of the form",
		"mysql+pymysql://u:secret@h/d":         `"mysql" databases are not supported`,
		"postgresql://u:secret@secret@h/d":     "must be written as %40",
		"postgresql://u:sec:secret/d":          "port is not a number",
		"postgresql://u:secret@h:99999/d":      "port is not a number",
		"postgresql://u:secret@a:1,b:x/d":      "port is not a number",
		"postgresql://u:secret@/d?host=a:sec":  "port is not a number",
		"postgresql://u:sec,ret/d":             "port is not a number",
		"postgresql://u:secret@sec,ret@h/d":    "must be written as %40",
		"sqlite://relative.db":                 "no host",
		"sqlite://u:secret@/x.db":              "no host",
		"sqlite:///file:x.db?mode=ro&uri=true": "without file: in front",
	}
	for _, url := range slices.Sorted(maps.Keys(bad)) {
		_, err := parseURL(url)
		require.ErrorContains(t, err, bad[url], url)
		require.NotContains(t, err.Error(), "sec", url)
	}
}

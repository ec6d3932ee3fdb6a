package db

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShellEnvironment(t *testing.T) {
	for url, want := range map[string][]string{
		"postgresql://": nil,
		"postgresql://duffy:p%40s#s@db.example.net:5433/duffy": {
			"PGDATABASE=duffy", "PGHOST=db.example.net", "PGPASSWORD=p@s#s", "PGPORT=5433", "PGUSER=duffy",
		},
		"postgresql+asyncpg:///duffy?host=/run/postgresql&password=p%26s&ssl=require": {
			"PGDATABASE=duffy", "PGHOST=/run/postgresql", "PGPASSWORD=p&s", "PGSSLMODE=require",
		},
		"postgresql://u@/d?host=a&host=b&pool_max_conns=7&async_fallback=true&krbspn=x": {
			"PGCONNECT_TIMEOUT=3", "PGDATABASE=d", "PGHOST=a,b", "PGTARGETSESSIONATTRS=read-write", "PGUSER=u",
		},
		`postgresql:///d?options=-c%20geqo%3Doff&search_path=duffy,%20"a\b"`: {
			"PGDATABASE=d", `PGOPTIONS=-c geqo=off -c search_path=duffy,\ "a\\b"`,
		},
	} {
		loc, err := parseURL(url)
		require.NoError(t, err, url)
		want = append(want, "PGAPPNAME=duffy", "PGTZ=UTC")
		if len(loc.hosts()) == 1 {
			want = append(want, "PGCONNECT_TIMEOUT=10")
		}
		slices.Sort(want)
		got := loc.environment()
		slices.Sort(got)
		require.Equal(t, want, got, url)
	}
}

// TestShellVariables has a variable, or a reason, for all that URLs can say.
func TestShellVariables(t *testing.T) {
	elsewhere := []string{"krbspn", "search_path", "sslpassword"}
	for _, option := range postgresOptions {
		require.NotEqual(t, slices.Contains(elsewhere, option), libpqVariables[option] != "", option)
	}
}

func TestNoShell(t *testing.T) {
	for url, want := range map[string]string{
		"":                      "database URL: it is empty",
		"mysql://u:secret@h/d":  `database URL: "mysql" databases are not supported`,
		"sqlite://":             "in the memory of the process that uses it",
		"sqlite:///:memory:":    "in the memory of the process that uses it",
		"sqlite:////dev/null/x": "there is no database yet: stat /dev/null/x",
	} {
		_, err := Shell(url)
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "secret")
	}
}

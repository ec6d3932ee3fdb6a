package db

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// FuzzParseURL puts a password into URLs, which neither errors nor what pgx is
// told have in them: its errors quote that.
func FuzzParseURL(f *testing.F) {
	for _, seed := range [][2]string{
		{"postgresql://duffy:", "@db.example.net:5433/duffy"},
		{"postgresql+asyncpg://u:", "@/d?host=/run/postgresql"},
		{"postgresql://u@[::1]/d?password=", "&ssl=require"},
		{"postgresql://u:p#s/s?w:%", "@h/d?pool_max_conns=7"},
		{"postgresql://u:", "@a:1,b:2/d?host=c:3&host=[::1]:4"},
		{"mysql://u:", "@h"},
		{"sqlite://u:", "@/x"},
		{"u:", ""},
		{"postgresql://u:p@", "@h:99999"},
	} {
		f.Add(seed[0], seed[1])
	}
	const password = "SECRETpassword"
	f.Fuzz(func(t *testing.T, before, after string) {
		loc, err := parseURL(before + password + after)
		if err != nil {
			require.NotContains(t, err.Error(), password)
			return
		}
		if loc.dialect != "postgresql" || loc.secret() != password {
			return
		}
		settings, ignored := loc.settings()
		require.NotContains(t, ignored, password)
		require.NotContains(t, connString(settings), password)
		if _, err := pgxpool.ParseConfig(connString(settings)); err != nil {
			require.NotContains(t, err.Error(), password)
		}
	})
}

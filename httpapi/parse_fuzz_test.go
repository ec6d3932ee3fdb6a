package httpapi

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/session"
)

// FuzzBasicAuth compares with net/http, which takes no spaces at the end.
func FuzzBasicAuth(f *testing.F) {
	for _, seed := range []string{
		"", "Basic", "Basic ", "Bearer abc", "Basic !!!", "Basic YWxpY2U=", "Basic Og==", "basic YWxpY2U6d3Jvbmc=", "Basic  YTpi ",
		"BASIC YTpiOmM=", "Basic YTpi\n", "Basic YTr/",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		name, key, err := basicAuth(header)
		req := http.Request{Header: http.Header{"Authorization": {header}}}
		wantName, wantKey, ok := req.BasicAuth()
		if ok && (!utf8.ValidString(wantName) || !utf8.ValidString(wantKey) || strings.ContainsRune(wantName+wantKey, 0)) {
			require.ErrorIs(t, err, fault.Unauthenticated, "no database has such a name")
		} else if ok {
			require.NoError(t, err)
			require.Equal(t, [2]string{wantName, wantKey}, [2]string{name, key})
		}
		if err != nil {
			require.ErrorIs(t, err, fault.Unauthenticated)
			require.Contains(t, []string{"Not authenticated", "Invalid authentication credentials"}, err.Error())
			require.Empty(t, name+key)
			return
		}
		require.NotContains(t, name, ":")
	})
}

// FuzzParseExpiry has whatever is taken be a time that the database can keep.
func FuzzParseExpiry(f *testing.F) {
	for _, seed := range []string{
		"+1h", "-30m", "+1w2d3h4m5s6ms", "2026-11-22T15:43:13Z", "2026-11-22 15:43+05", "1795362193", "1795362193000", "-1e14", "1e14", "nan",
		"inf", "0x1p-2", "", " +1h ", "2026-02-30", "99999999999999999999w",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var u session.Update
		if err := parseExpiry(text, &u); err != nil {
			require.ErrorIs(t, err, fault.Invalid)
			require.True(t, strings.HasPrefix(err.Error(), "body.expires_at: "))
			require.Less(t, len(err.Error()), 200, "what was sent is not repeated")
			require.Equal(t, session.Update{}, u)
			return
		}
		require.NotEqual(t, u.ExpiresAt == nil, u.ExpiresIn == nil)
		if u.ExpiresAt != nil {
			require.Equal(t, time.UTC, u.ExpiresAt.Location())
			require.True(t, u.ExpiresAt.Year() > -5000 && u.ExpiresAt.Year() < 300_000, u.ExpiresAt)
		}
		var again session.Update
		require.NoError(t, parseExpiry(" "+text+" ", &again))
		require.Equal(t, u, again)
	})
}

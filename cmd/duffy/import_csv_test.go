package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/config"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/tenant"
)

const (
	usersCSV    = "testdata/import-csv/users.csv"
	userkeysCSV = "testdata/import-csv/userkeys.csv"
)

func TestImportCSV(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) { t.Parallel(); testImportCSV(t, dbtest.PostgresURL(t)) })
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		testImportCSV(t, "sqlite:///"+filepath.Join(t.TempDir(), "duffy.db"))
	})
}

func testImportCSV(t *testing.T, url string) {
	duffy := func(args ...string) (code int, stdout, stderr string) {
		t.Helper()
		var out, errs strings.Builder
		file := writeConfig(t, "database: {url: %q}", url)
		code = run(t.Context(), append([]string{"-c", file}, args...), &out, &errs)
		return code, out.String(), errs.String()
	}
	do := func(args ...string) (stdout string) {
		t.Helper()
		code, stdout, stderr := duffy(args...)
		require.Zero(t, code, stderr)
		require.Empty(t, stderr)
		return stdout
	}
	do("setup-db")
	_, ownKey, _ := strings.Cut(strings.TrimSpace(do("admin", "create-tenant", "existing", "ssh-ed25519 OWN")), "existing: ")

	const wouldDo = `systemd: would be added
systemd: skipped, disabled
kernel's "ci": would be added
old: skipped, disabled
nokey: skipped, no SSH key
existing: skipped, exists
2 would be added, 4 skipped. Nothing was changed, --commit does it.
`
	require.Equal(t, wouldDo, do("import-csv", usersCSV, userkeysCSV))
	require.Equal(t, wouldDo, do("import-csv", "import-db", "--dry-run", usersCSV, userkeysCSV))
	require.Equal(t, "OK: existing\n", do("admin", "list-tenants", "--all"))

	tooLong := strings.Repeat("x", 73) // after one that could be added
	users := writeFile(t, "fine,p,fine,c,l\n"+tooLong+",p,long,c,l\n")
	keys := writeFile(t, "1,fine,ssh-rsa A\n2,"+tooLong+",ssh-rsa B\n")
	code, stdout, stderr := duffy("import-csv", "--commit", users, keys)
	require.Equal(t, exitFailure, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "ERROR: couldn't import tenants\nERROR DETAIL: tenant long: ")
	require.NotContains(t, stderr, tooLong)
	require.Equal(t, "OK: existing\n", do("admin", "list-tenants", "--all"))

	require.Equal(t, strings.NewReplacer("would be added", "added", ". Nothing was changed, --commit does it", "").Replace(wouldDo),
		do("import-csv", "--commit", usersCSV, userkeysCSV))
	again := do("import-csv", "--commit", usersCSV, userkeysCSV)
	require.Contains(t, again, "systemd: skipped, exists\nsystemd: skipped, disabled\n")
	require.Contains(t, again, "\n0 added, 6 skipped.\n")

	database, err := db.Open(t.Context(), url, db.Config{})
	require.NoError(t, err)
	defer database.Close()
	tenants := tenant.New(database.DB, tenant.Config{})
	for _, tt := range []struct{ name, key, sshKey string }{
		{"systemd", "5B1E7A0E-87C0-4A5E-9D53-1F0C1C7F0001", "ssh-ed25519 AAAA alice@example.net\nssh-ed25519 DDDD carol@example.net"},
		{`kernel's "ci"`, "no UUID, it's old", "ssh-ed25519 BBBB bob's, the old one"},
		{"existing", ownKey, "ssh-ed25519 OWN"},
	} {
		got, err := tenants.Authenticate(t.Context(), tt.name, tt.key)
		require.NoError(t, err, tt.name)
		require.Equal(t, tt.sshKey, got.SSHKey)
		require.False(t, got.IsAdmin)
		require.Nil(t, got.NodeQuota)
	}
	_, err = tenants.Authenticate(t.Context(), "existing", "0123456789")
	require.ErrorIs(t, err, fault.Unauthenticated)
}

// TestCSVFromElsewhere has files with what editors of other systems put in.
func TestCSVFromElsewhere(t *testing.T) {
	t.Parallel()
	want, err := readLegacyUsers(usersCSV, userkeysCSV)
	require.NoError(t, err)
	elsewhere := func(file string) string {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		return writeFile(t, "\ufeff"+strings.ReplaceAll(string(text), "\n", "\r\n"))
	}
	got, err := readLegacyUsers(elsewhere(usersCSV), elsewhere(userkeysCSV))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// TestMalformedCSV has all mistakes in a file told, and no keys.
func TestMalformedCSV(t *testing.T) {
	t.Parallel()
	const fineUsers, fineKeys = "secret,p,t,c,5\n", "1,secret,ssh-rsa A\n"
	for name, tt := range map[string]struct {
		users, userkeys string
		want            []string // errors at USERS or KEYS
	}{
		"columns of users": {fineUsers + "\nsecret2,p,t2,c\nsecret3\n", fineKeys, []string{
			"USERS:3: expected 5 columns (key, project, tenant, created, limit), found 4",
			"USERS:4: expected 5 columns (key, project, tenant, created, limit), found 1",
		}},
		"columns of keys": {fineUsers, fineKeys + "2,secret,ssh-rsa A,B\n", []string{
			"KEYS:2: expected 3 columns (id, key, ssh key), found 4",
		}},
		"repeated users": {fineUsers + "secret,p,t2,c,5\nsecret3,p,t,c,5\n", fineKeys, []string{
			"USERS:2: the key is that of line 1 too",
			"USERS:3: tenant t is in line 1 too",
		}},
		"nobody": {fineUsers + ",p,t2,c,5\nsecret2,p,,c,5\n", fineKeys, []string{
			"USERS:2: a user needs a key and a tenant",
			"USERS:3: a user needs a key and a tenant",
		}},
		"nobody's key": {fineUsers, "1,secret0,ssh-rsa A\n", []string{
			"KEYS:1: there is no user with this key in USERS",
		}},
		"quote without end": {fineUsers, fineKeys + "2,secret,'ssh-rsa A\n3,secret,ssh-rsa B\n", []string{
			"KEYS:2: extraneous or missing ' in quoted-field",
		}},
		"quote inside": {fineUsers, "1,secret\n" + "2,secret,ssh-rsa A bob's\n", []string{
			"KEYS:1: expected 3 columns (id, key, ssh key), found 2",
			"KEYS:2: bare ' in non-quoted-field",
		}},
		"other quotes": {`"secret","p","t","c","5"`, fineKeys, []string{
			`USERS:1: is quoted by ", expected '`,
		}},
		"Latin 1": {fineUsers + "secret2,p,gr\xfcn,c,5\n", fineKeys, []string{
			"USERS:2: is not in UTF-8",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			users, keys := writeFile(t, tt.users), writeFile(t, tt.userkeys)
			for _, command := range []string{"import-db", "generate-usermap"} {
				var stdout, stderr strings.Builder
				code := run(t.Context(), []string{"import-csv", command, users, keys}, &stdout, &stderr)
				require.Equal(t, exitFailure, code)
				require.Empty(t, stdout.String())
				require.Equal(t, "duffy: "+strings.Join(tt.want, "\n")+"\n",
					strings.NewReplacer(users, "USERS", keys, "KEYS").Replace(stderr.String()))
			}
		})
	}
}

func TestGenerateUsermap(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"5B1E7A0E-87C0-4A5E-9D53-1F0C1C7F0001": "systemd",
		"no UUID, it's old":                    `kernel's "ci"`,
		"0123456789":                           "existing",
		"017":                                  "yes",
	}
	with := func(file, row string) string {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		return writeFile(t, string(text)+row)
	}
	users, keys := with(usersCSV, "017,p,yes,c,5\n"), with(userkeysCSV, "8,017,ssh-rsa G\n")
	file := filepath.Join(t.TempDir(), "usermap.yaml")
	var stdout, stderr strings.Builder
	require.Zero(t, run(t.Context(), []string{"import-csv", "generate-usermap", users, keys}, &stdout, &stderr))
	require.Equal(t, "systemd: skipped, disabled\nold: skipped, disabled\nnokey: skipped, no SSH key\n", stderr.String())

	require.Zero(t, run(t.Context(), []string{"import-csv", "generate-usermap", "-o", file, users, keys}, &stderr, &stderr))
	written, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, stdout.String(), string(written))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	files, err := config.Load(file)
	require.NoError(t, err)
	require.Equal(t, want, files.Config().Metaclient.Usermap)

	stderr.Reset()
	require.Equal(t, exitFailure, run(t.Context(), []string{"import-csv", "generate-usermap", "-o", file, users, keys}, &stderr, &stderr))
	require.Contains(t, stderr.String(), file+": file exists")
}

func writeFile(t *testing.T, text string) (file string) {
	file = filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

package secretfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	for _, tt := range []struct{ name, stdin, want, err string }{
		{name: write("key", " s3cret\r\n"), want: "s3cret"},
		{name: write("lines", "one\ntwo\n\n"), want: "one\ntwo"},
		{name: "-", stdin: "s3cret\n", want: "s3cret"},
		{name: write("-", "a file of that name"), want: "a file of that name"},
		{name: write("empty", " \n"), err: "empty: there is nothing in it"},
		{name: "-", err: "standard input: there is nothing in it"},
		{name: write("long", strings.Repeat("s3cret", most)), err: "long: longer than 1048576 bytes"},
		{name: dir, err: "is a directory"},
		{name: filepath.Join(dir, "missing"), err: "no such file"},
	} {
		got, err := Read(tt.name, strings.NewReader(tt.stdin))
		require.Equal(t, tt.want, got)
		if tt.err == "" {
			require.NoError(t, err, tt.name)
			continue
		}
		require.ErrorContains(t, err, tt.err)
		require.NotContains(t, err.Error(), "s3cret")
	}
}

// TestExposed needs no other users: it asks on behalf of some.
func TestExposed(t *testing.T) {
	t.Parallel()
	const duffy, group, other = 7001, 7002, 7003
	if os.Geteuid() != root {
		t.Skip("needs root, for files of others")
	}
	me := User{UID: duffy, GID: duffy, Groups: []int{group}}
	for name, tt := range map[string]struct {
		uid, gid         int
		mode             fs.FileMode
		private, trusted string // what is wrong, if anything
	}{
		"own":                       {duffy, duffy, 0o600, "", ""},
		"own, read-only":            {duffy, duffy, 0o400, "", ""},
		"root's":                    {root, root, 0o600, "", ""},
		"root's, for the group":     {root, group, 0o640, "", ""},
		"root's, for another group": {root, other, 0o640, "group 7003 can read it", ""},
		"own, for the group":        {duffy, group, 0o640, "group 7002 can read it (mode 0640): chmod g= ", ""},
		"for all":                   {root, root, 0o644, "every user can read it (mode 0644): chmod o= ", ""},
		"for all but the group":     {root, other, 0o604, "every user can read it", ""},
		"written by the group":      {root, group, 0o620, "group 7002 can write to it", "group 7002 can write to it"},
		"written by its own group":  {duffy, duffy, 0o660, "can read it", "group 7001 can write to it"},
		"written by all":            {root, root, 0o602, "every user can write to it", "every user can write to it"},
		"another's":                 {other, duffy, 0o600, "belongs to user 7003", "belongs to user 7003"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "file")
			require.NoError(t, os.WriteFile(file, nil, 0o600))
			require.NoError(t, os.Chown(file, tt.uid, tt.gid))
			require.NoError(t, os.Chmod(file, tt.mode))
			link := filepath.Join(t.TempDir(), "link")
			require.NoError(t, os.Symlink(file, link))
			for _, path := range []string{file, link} {
				requireExposed(t, tt.private, me.Private(path))
				requireExposed(t, tt.trusted, me.Trusted(path))
			}
		})
	}
}

// TestExposedDirectories has a safe file in directories that are not.
func TestExposedDirectories(t *testing.T) {
	t.Parallel()
	const duffy, other = 7001, 7003
	if os.Geteuid() != root {
		t.Skip("needs root, for directories of others")
	}
	me := User{UID: duffy, GID: duffy}
	for name, tt := range map[string]struct {
		uid, gid int
		mode     fs.FileMode
		wrong    string
	}{
		"own":           {duffy, duffy, 0o755, ""},
		"own group":     {duffy, duffy, 0o775, ""},
		"root's group":  {root, root, 0o775, ""},
		"sticky":        {root, root, fs.ModeSticky | 0o777, ""},
		"another group": {root, other, 0o775, "group 7003 can write to it"},
		"for all":       {root, root, 0o777, "every user can write to it"},
		"another's":     {other, other, 0o755, "belongs to user 7003"},

		"another's, sticky": {other, other, fs.ModeSticky | 0o777, "belongs to user 7003"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := filepath.Join(t.TempDir(), "top")
			dir := filepath.Join(top, "below")
			require.NoError(t, os.MkdirAll(dir, 0o755))
			file := filepath.Join(dir, "file")
			require.NoError(t, os.WriteFile(file, nil, 0o600))
			require.NoError(t, os.Chown(top, tt.uid, tt.gid))
			require.NoError(t, os.Chmod(top, tt.mode))
			link := filepath.Join(t.TempDir(), "link")
			require.NoError(t, os.Symlink(file, link))
			for _, path := range []string{file, link} {
				requireExposed(t, tt.wrong, me.Private(path))
				requireExposed(t, tt.wrong, me.Trusted(path))
			}
		})
	}
}

func requireExposed(t *testing.T, wrong string, err error) {
	t.Helper()
	if wrong == "" {
		require.NoError(t, err)
		return
	}
	require.ErrorContains(t, err, wrong)
}

func TestMissingFilesAreNotExposed(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	require.NoError(t, Current().Private(missing))
	require.NoError(t, Current().Trusted(missing))
}

// TestLinksThroughDirectoriesOfOthers has a link in the middle of the way, which its
// owner can point elsewhere.
func TestLinksThroughDirectoriesOfOthers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != root {
		t.Skip("needs root, for directories of others")
	}
	me := User{UID: 7001, GID: 7001}
	dir := t.TempDir()
	for _, name := range []string{"real", "other"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "real", "key"), nil, 0o600))
	require.NoError(t, os.Symlink("../real", filepath.Join(dir, "other", "link")))
	require.NoError(t, os.Symlink(filepath.Join(dir, "other", "link"), filepath.Join(dir, "etc")))
	require.NoError(t, me.Private(filepath.Join(dir, "etc", "key")))
	require.NoError(t, os.Chown(filepath.Join(dir, "other"), 7003, 7003))
	requireExposed(t, "belongs to user 7003", me.Private(filepath.Join(dir, "etc", "key")))
	require.NoError(t, me.Private(filepath.Join(dir, "real", "key")))

	loop := filepath.Join(dir, "loop")
	require.NoError(t, os.Symlink("loop", loop))
	require.NoError(t, me.Private(filepath.Join(loop, "key")))
}

package db_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
)

// TestSQLiteIsPrivate cannot be parallel, because of the umask.
func TestSQLiteIsPrivate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	for name, prepare := range map[string]func(t *testing.T, file string){
		"new":           func(*testing.T, string) {},
		"link":          func(t *testing.T, file string) { require.NoError(t, os.Symlink(file+".there", file)) },
		"relative link": func(t *testing.T, file string) { require.NoError(t, os.Symlink("there", file)) },
		"links": func(t *testing.T, file string) {
			require.NoError(t, os.Symlink(file+".1", file))
			require.NoError(t, os.Symlink(file+".2", file+".1"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "duffy.db")
			prepare(t, file)
			require.Equal(t, []string{"0600", "0600", "0600"}, modesOfOpen(t, file))
		})
	}
}

// TestSQLiteKeepsModes leaves files that exist to their owner.
func TestSQLiteKeepsModes(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "duffy.db")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Chmod(file, 0o640))
	require.Equal(t, []string{"0640", "0640", "0640"}, modesOfOpen(t, file))
}

func TestSQLiteWithoutAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "duffy.db")
	require.NoError(t, os.Symlink(file, file))
	_, err := db.Open(t.Context(), "sqlite:///"+file, db.Config{})
	require.ErrorContains(t, err, "too many links")
	require.Empty(t, db.Files("sqlite://"))
	require.Empty(t, db.Files("postgresql:///duffy"))
}

// modesOfOpen returns the modes of a database's files while it is in use.
func modesOfOpen(t *testing.T, file string) (modes []string) {
	d, err := db.Open(t.Context(), "sqlite:///"+file, db.Config{})
	require.NoError(t, err)
	defer d.Close()
	_, err = d.ExecContext(t.Context(), "CREATE TABLE t (id INTEGER)")
	require.NoError(t, err)
	files := db.Files("sqlite:///" + file)
	if target, err := filepath.EvalSymlinks(file); err == nil && target != file {
		files = db.Files("sqlite:///" + target) // the others are beside it
	}
	for _, name := range files {
		info, err := os.Stat(name)
		require.NoError(t, err)
		modes = append(modes, fmt.Sprintf("%04o", info.Mode().Perm()))
	}
	return modes
}

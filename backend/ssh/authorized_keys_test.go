package ssh_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend/backendtest"
	"github.com/duffy-ci/duffy/backend/ssh"
)

const separator = "### DUFFY tenant credentials\n"

// TestAuthorizedKeys runs all that can be the matter with authorized_keys with
// all shells: those that people log in to, and those that call themselves sh.
func TestAuthorizedKeys(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"dash", "bash", "tcsh", "fish"} {
		t.Run("login="+shell, func(t *testing.T) {
			t.Parallel()
			testAuthorizedKeys(t, startSSHD(t, sshdConfig{shell: program(t, shell)}))
		})
	}
	for _, shell := range []string{"dash", "bash", "busybox"} {
		t.Run("sh="+shell, func(t *testing.T) {
			t.Parallel()
			testAuthorizedKeys(t, startSSHD(t, sshdConfig{path: binDir(t, shell)}))
		})
	}
}

func testAuthorizedKeys(t *testing.T, d *sshd) {
	c := open(t, ssh.Config{KeyFiles: []string{d.file}})
	dir := filepath.Join(d.home, ".ssh")
	file := filepath.Join(dir, "authorized_keys")
	own := backendtest.PublicKey(d.own)
	in := func(key string) { require.NoError(t, c.Contextualize(t.Context(), d.node, key)) }
	out := func() { require.NoError(t, c.Decontextualize(t.Context(), d.node)) }
	has := func(text string) {
		t.Helper()
		require.Equal(t, text, read(t, file))
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1, "something is left behind")
	}
	give := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }

	in("ssh-rsa AAAA one")
	has(own + separator + "ssh-rsa AAAA one\n")
	in("ssh-rsa AAAA two\n\n")
	has(own + separator + "ssh-rsa AAAA two\n")
	out()
	has(own)
	out()
	has(own)
	in("")
	has(own)

	give(strings.TrimSuffix(own, "\n"))
	in("k")
	has(own + separator + "k\n")

	give("# \\n %s \\\\ $HOME `x` *\n\n\t " + own + separator[:len(separator)-1] + "\r\nk\r\n" + separator)
	out()
	has("# \\n %s \\\\ $HOME `x` *\n\n\t " + own)

	give(own)
	evil := "' $(touch pwned) `touch pwned` \\ \" $HOME %s \\n\n" + separator + "-n\nEOF\n}\nexit 0\n'\\''; touch pwned"
	in("\r\n" + strings.ReplaceAll(evil, "\n", "\r\n") + "\x00\x1b\r\n")
	has(own + separator + evil + "\n")
	require.NoFileExists(t, filepath.Join(d.home, "pwned"))
	out()
	has(own)

	long := strings.TrimSpace(strings.Repeat("ssh-rsa "+strings.Repeat("A", 1000)+"\n", 200))
	in(long)
	has(own + separator + long + "\n")

	require.NoError(t, os.Chmod(file, 0o640))
	require.NoError(t, os.Chown(file, 0, 4321))
	out()
	has(own)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
	require.EqualValues(t, 4321, info.Sys().(*syscall.Stat_t).Gid)

	elsewhere := filepath.Join(d.home, "elsewhere")
	require.NoError(t, os.Rename(file, elsewhere))
	require.NoError(t, os.Symlink("../elsewhere", file))
	in("k")
	has(own + separator + "k\n")
	target, err := os.Readlink(file)
	require.NoError(t, err)
	require.Equal(t, "../elsewhere", target)
	require.Equal(t, own+separator+"k\n", read(t, elsewhere))
	out()
	has(own)
}

// TestNoFileYet has Duffy let in by other means than ~/.ssh/authorized_keys.
func TestNoFileYet(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"dash", "bash", "busybox"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			d := startSSHD(t, sshdConfig{path: binDir(t, shell), keysFile: ".ssh/authorized_keys duffy"})
			require.NoError(t, os.Rename(filepath.Join(d.home, ".ssh", "authorized_keys"), filepath.Join(d.home, "duffy")))
			require.NoError(t, os.Remove(filepath.Join(d.home, ".ssh")))
			c := open(t, ssh.Config{KeyFiles: []string{d.file}})

			require.NoError(t, c.Contextualize(t.Context(), d.node, "k"))
			file := filepath.Join(d.home, ".ssh", "authorized_keys")
			require.Equal(t, separator+"k\n", read(t, file))
			for name, mode := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700 | os.ModeDir} {
				info, err := os.Stat(name)
				require.NoError(t, err)
				require.Equal(t, mode, info.Mode())
			}

			require.NoError(t, os.Remove(file))
			require.NoError(t, os.Symlink("/nowhere/at/all", file))
			require.ErrorContains(t, c.Contextualize(t.Context(), d.node, "k"), "symbolic link to nowhere")
		})
	}
}

// TestDiskTrouble has a small file system, or one that cannot be written, for
// root's ~/.ssh. It exists on the node only.
func TestDiskTrouble(t *testing.T) {
	t.Parallel()
	const mount = `cp .ssh/authorized_keys keys; mount -t tmpfs -o size=%s,mode=700 tmpfs .ssh; mv keys .ssh/authorized_keys; %s`
	large := strings.Repeat("ssh-rsa "+strings.Repeat("A", 1000)+"\n", 20)
	for _, shell := range []string{"dash", "bash", "busybox"} {
		for _, trouble := range []struct{ name, prepare, says string }{
			{"full", fmt.Sprintf(mount, "16k", ""), "No space left on device"},
			{"readonly", fmt.Sprintf(mount, "16k", "mount -o remount,ro .ssh"), "Read-only file system"},
		} {
			t.Run(trouble.name+"/"+shell, func(t *testing.T) {
				t.Parallel()
				d := startSSHD(t, sshdConfig{path: binDir(t, shell), prepare: trouble.prepare})
				c := open(t, ssh.Config{KeyFiles: []string{d.file}})
				err := c.Contextualize(t.Context(), d.node, large)
				require.ErrorContains(t, err, "cannot change authorized_keys")
				require.ErrorContains(t, err, trouble.says)
				require.NotContains(t, err.Error(), "AAAA")
				require.Equal(t, backendtest.PublicKey(d.own), d.run(t, "cat .ssh/*"))
				require.Equal(t, "authorized_keys\n", d.run(t, "ls -A .ssh"))
			})
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

// binDir returns a PATH with shell as sh and the few other programs of a small
// system.
func binDir(t *testing.T, shell string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"sh", "cat", "cp", "id", "ls", "mkdir", "mv", "readlink", "rm"} {
		target := shell
		if name != "sh" && shell != "busybox" {
			target = name
		}
		require.NoError(t, os.Symlink(program(t, target), filepath.Join(dir, name)))
	}
	return dir
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	need(t, err == nil, name)
	return path
}

// TestBrokenConnection has the shell read the script up to any point but its end.
func TestBrokenConnection(t *testing.T) {
	t.Parallel()
	script := "tenant='ssh-rsa AAAA'\n" + strings.TrimSpace(read(t, "authorized_keys.sh"))
	for _, shell := range []string{"dash", "bash", "busybox"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			path := binDir(t, shell)
			home := t.TempDir()
			for end := 0; end < len(script); end += 1 + len(script)/50 {
				cmd := exec.Command(filepath.Join(path, "sh"))
				cmd.Env = []string{"HOME=" + home, "PATH=" + path}
				cmd.Stdin = strings.NewReader(script[:end])
				_ = cmd.Run()
				require.NoDirExists(t, filepath.Join(home, ".ssh"), "%s", script[:end])
			}
		})
	}
}

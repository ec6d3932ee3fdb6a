package ssh_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend/backendtest"
	"github.com/duffy-ci/duffy/backend/ssh"
)

// TestFilesInOddPlaces has a ~/.ssh or an authorized_keys that is not what it seems.
// Duffy says so, and changes nothing anywhere.
func TestFilesInOddPlaces(t *testing.T) {
	t.Parallel()
	const secret = "root:$6$hash:19000:0:99999:7:::\n"
	for name, place := range map[string]struct {
		prepare string // runs in the home directory, with $out elsewhere
		says    string
	}{
		"link out of home":        {`echo "$keep" >$out/f; ln -sf $out/f .ssh/authorized_keys`, "is a symbolic link out of the home directory: "},
		"link by way of home":     {`echo "$keep" >$out/f; ln -s $out here; ln -sf ../here/f .ssh/authorized_keys`, "is a symbolic link out of the home directory: "},
		"link to a link":          {`echo "$keep" >$out/f; ln -s $out/f f; ln -sf ../f .ssh/authorized_keys`, "is a symbolic link out of the home directory: "},
		"link to a neighbour":     {`mkdir ../root-2; echo "$keep" >../root-2/f; ln -sf ../../root-2/f .ssh/authorized_keys`, "is a symbolic link out of the home directory: "},
		"link to another's file":  {`echo "$keep" >f; chown 12345 f; ln -sf ../f .ssh/authorized_keys`, "is a symbolic link to a file of another user: "},
		"link to nowhere":         {`ln -sf $out/nowhere .ssh/authorized_keys`, "is a symbolic link to nowhere"},
		"link to itself":          {`ln -sf authorized_keys .ssh/authorized_keys`, "is a symbolic link to nowhere"},
		"link to /dev/zero":       {`ln -sf /dev/zero .ssh/authorized_keys`, "is a symbolic link out of the home directory: /dev/zero"},
		"link to a FIFO":          {`mkfifo f; ln -sf ../f .ssh/authorized_keys`, "is not a regular file"},
		"FIFO":                    {`rm .ssh/authorized_keys; mkfifo .ssh/authorized_keys`, "is not a regular file"},
		"device":                  {`rm .ssh/authorized_keys; mknod .ssh/authorized_keys c 1 5`, "is not a regular file"},
		"directory":               {`rm .ssh/authorized_keys; mkdir .ssh/authorized_keys`, "is not a regular file"},
		"link to a directory":     {`mkdir f; ln -sf ../f .ssh/authorized_keys.new; mv -T .ssh/authorized_keys.new .ssh/authorized_keys`, "is not a regular file"},
		"sparse file of 8 GB":     {`truncate -s 8G .ssh/authorized_keys`, "has 8589934592 bytes, more than 1 MiB"},
		"link to a sparse file":   {`truncate -s 8G f; ln -sf ../f .ssh/authorized_keys`, "has 8589934592 bytes, more than 1 MiB"},
		"directory out of home":   {`mv .ssh $out/ssh; ln -s $out/ssh .ssh`, "is not in the home directory but in "},
		"directory is /etc":       {`rm -r .ssh; ln -s /etc .ssh`, "is not in the home directory but in /etc"},
		"directory is a file":     {`rm -r .ssh; echo "$keep" >.ssh`, "File exists"},
		"directory leads nowhere": {`rm -r .ssh; ln -s $out/nowhere .ssh`, "File exists"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := t.TempDir()
			d := startSSHD(t, sshdConfig{keysFile: ".duffy .ssh/authorized_keys", prepare: fmt.Sprintf(
				"cp .ssh/authorized_keys .duffy; out=%s; keep='%s'; %s", out, secret, place.prepare)})
			before := snapshot(t, d.home, out)
			c := open(t, ssh.Config{KeyFiles: []string{d.file}})
			require.ErrorContains(t, c.Contextualize(t.Context(), d.node, "ssh-ed25519 AAAA"), place.says)
			require.ErrorContains(t, c.Decontextualize(t.Context(), d.node), place.says)
			if place.says != "File exists" { // where there is nothing to read, nothing is wrong
				_, err := c.Inspect(t.Context(), d.node)
				require.ErrorContains(t, err, place.says)
			}
			require.Equal(t, before, snapshot(t, d.home, out))
		})
	}
}

// snapshot tells all that is in directories, as far as it may be changed by whoever
// writes there.
func snapshot(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, dir := range dirs {
		require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			require.NoError(t, err)
			info, err := entry.Info()
			require.NoError(t, err)
			stat := info.Sys().(*syscall.Stat_t)
			all[path] = fmt.Sprint(info.Mode(), stat.Uid, stat.Ino, info.Size(), info.ModTime())
			return nil
		}))
	}
	return all
}

// TestFilesInTheHomeDirectory has the links of images that are followed.
func TestFilesInTheHomeDirectory(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]string{
		"file":               `mkdir etc; mv .ssh/authorized_keys etc/keys; ln -s ../etc/keys .ssh/authorized_keys`,
		"absolute":           `mv .ssh/authorized_keys "a file"; ln -s "$PWD/a file" .ssh/authorized_keys`,
		"directory":          `mv .ssh ssh; ln -s ssh .ssh`,
		"file and directory": `mv .ssh ssh; ln -s ssh .ssh; mv ssh/authorized_keys keys; ln -s ../keys ssh/authorized_keys`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startSSHD(t, sshdConfig{prepare: prepare})
			c := open(t, ssh.Config{KeyFiles: []string{d.file}})
			tenant := backendtest.NewKey(t)
			require.NoError(t, c.Contextualize(t.Context(), d.node, backendtest.PublicKey(tenant)))
			require.True(t, canLogIn(t, d.node, tenant))
			require.NoError(t, c.Decontextualize(t.Context(), d.node))
			require.False(t, canLogIn(t, d.node, tenant))
			require.Equal(t, backendtest.PublicKey(d.own), d.run(t, "cat .ssh/authorized_keys"))
		})
	}
}

// TestNothingIsProvenByExitStatus has nodes that do nothing, and say that it worked.
func TestNothingIsProvenByExitStatus(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]sshdConfig{
		"echo":          {options: "ForceCommand /bin/echo"},
		"true":          {options: "ForceCommand /bin/true"},
		"cat":           {options: "ForceCommand /bin/cat"},
		"another shell": {options: "ForceCommand /bin/sh -c 'cat; exit 0'"},
		"login shell":   {shell: "/bin/bash", prepare: `echo 'exec env sleep 0' >.bashrc`},
		"nologin":       {shell: script(t, `cat >/dev/null; echo 'This account is currently not available.'`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startSSHD(t, config)
			c := open(t, ssh.Config{KeyFiles: []string{d.file}})
			const says = "a script for sh that it did not run to its end"
			err := c.Contextualize(t.Context(), d.node, "ssh-ed25519 AAAA")
			require.ErrorContains(t, err, says)
			require.NotContains(t, err.Error(), "AAAA")
			require.ErrorContains(t, c.Decontextualize(t.Context(), d.node), says)
			_, err = c.Inspect(t.Context(), d.node)
			require.ErrorContains(t, err, says)
		})
	}
}

// TestTalkativeShells print before they do as they are told.
func TestTalkativeShells(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{shell: "/bin/bash", prepare: `echo 'seq 2000; printf "no end of line"; seq 100 >&2; trap "echo bye" EXIT' >.bashrc`})
	c := open(t, ssh.Config{KeyFiles: []string{d.file}})
	tenant := backendtest.NewKey(t)
	require.NoError(t, c.Contextualize(t.Context(), d.node, backendtest.PublicKey(tenant)))
	require.True(t, canLogIn(t, d.node, tenant))
	seen, err := c.Inspect(t.Context(), d.node)
	require.NoError(t, err)
	require.Len(t, seen.AuthorizedKeysSHA256, 64)
}

// TestChangedMeanwhile has somebody else write the file all the time. Whatever Duffy
// says worked did work.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{})
	file := filepath.Join(d.home, ".ssh", "authorized_keys")
	own := read(t, file)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			name := fmt.Sprint(file, ".other")
			_ = os.WriteFile(name, []byte(own+strings.Repeat("# ", n%7)+"\n"), 0o600)
			_ = os.Rename(name, file)
		}
	}()
	c := open(t, ssh.Config{KeyFiles: []string{d.file}})
	for range 20 {
		if err := c.Contextualize(t.Context(), d.node, "k"); err != nil {
			require.ErrorContains(t, err, "authorized_keys")
		}
	}
	close(stop)
	<-stopped
	require.NoError(t, c.Contextualize(t.Context(), d.node, "k"))
	require.True(t, strings.HasSuffix(read(t, file), separator+"k\n"))
}

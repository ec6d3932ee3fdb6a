package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// An installation is a root directory with the users and directories that packages
// make, and files as the operator's guide wants them.
type installation struct {
	root   string
	users  map[string]int
	groups map[string]int
	member map[string][]uint32 // groups by their members
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	need(t, os.Geteuid() == 0 && installed("systemd-sysusers") && installed("systemd-tmpfiles"), "root, and systemd-sysusers of Debian's package systemd")
	root, err := os.MkdirTemp("", "duffy-installation-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(root)) })
	require.NoError(t, os.Chmod(root, 0o755)) // other users have to get in
	require.NoError(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	in := &installation{root: root, member: map[string][]uint32{}}
	for _, command := range [][]string{
		{"systemd-sysusers", "--root=" + root, "packaging/sysusers.d/duffy.conf"},
		{"systemd-tmpfiles", "--root=" + root, "--create", "packaging/tmpfiles.d/duffy.conf"},
	} {
		command[len(command)-1], err = filepath.Abs("../../" + command[len(command)-1])
		require.NoError(t, err)
		out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
		require.NoError(t, err, "%s: %s", command, out)
	}
	in.users, in.groups = in.ids(t, "passwd"), in.ids(t, "group")
	for _, line := range in.lines(t, "group") {
		fields := strings.Split(line, ":")
		for member := range strings.SplitSeq(fields[3], ",") {
			in.member[member] = append(in.member[member], uint32(in.groups[fields[0]]))
		}
	}
	return in
}

func (in *installation) path(name string) string { return filepath.Join(in.root, name) }

func (in *installation) lines(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(in.path("etc/" + file))
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// ids returns the third column of a file by the first.
func (in *installation) ids(t *testing.T, file string) map[string]int {
	t.Helper()
	ids := map[string]int{}
	for _, line := range in.lines(t, file) {
		fields := strings.Split(line, ":")
		id, err := strconv.Atoi(fields[2])
		require.NoError(t, err)
		ids[fields[0]] = id
	}
	return ids
}

// write writes a file of root's that a group may read.
func (in *installation) write(t *testing.T, name, group, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(in.path(name), []byte(text), 0o600))
	require.NoError(t, os.Chown(in.path(name), 0, in.groups[group]))
	require.NoError(t, os.Chmod(in.path(name), 0o640))
}

// as has a command run as a user, with its groups.
func (in *installation) as(t *testing.T, user string, command *exec.Cmd) (output string, err error) {
	t.Helper()
	require.Contains(t, in.users, user)
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{
		Uid: uint32(in.users[user]), Gid: uint32(in.groups[user]), Groups: in.member[user],
	}}
	out, err := command.CombinedOutput()
	return string(out), err
}

// TestUsersOfUnits has every service get at what it needs, without a warning, and at
// nothing else.
func TestUsersOfUnits(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	key, err := newDemoKey(filepath.Join(t.TempDir(), "key"))
	require.NoError(t, err)
	secret, err := os.ReadFile(key.file)
	require.NoError(t, err)
	in.write(t, "etc/duffy/id_ed25519", "duffy", string(secret))
	in.write(t, "etc/duffy/duffy.yaml", "duffy", fmt.Sprintf(
		"database: {url: 'postgresql://duffy:s3cret@localhost/duffy'}\nssh: {key-files: [%s]}\n", in.path("etc/duffy/id_ed25519")))
	in.write(t, "etc/duffy-legacy/legacy.yaml", "duffy-legacy", "metaclient: {usermap: {s3cret: ci}}\n")
	require.NoError(t, os.WriteFile(in.path("var/lib/duffy/state"), nil, 0o600))
	require.NoError(t, os.Chmod(in.path("var/lib/duffy/state"), 0o666)) // the directory keeps it
	require.NoError(t, os.Chown(in.path("var/lib/duffy/state"), in.users["duffy"], in.groups["duffy"]))
	program := in.path("duffy")
	copyProgram(t, program)

	config := map[string]string{"duffy-app": "etc/duffy", "duffy-tasks": "etc/duffy", "duffy-metaclient": "etc/duffy-legacy"}
	may := map[string][]string{
		"duffy-app":        {"etc/duffy/id_ed25519", "etc/duffy/duffy.yaml"},
		"duffy-tasks":      {"etc/duffy/id_ed25519", "etc/duffy/duffy.yaml", "var/lib/duffy/state"},
		"duffy-metaclient": {"etc/duffy-legacy/legacy.yaml"},
	}
	users := map[string]bool{}
	for _, unit := range unitNames {
		user := regexp.MustCompile(`(?m)^User=(.*)$`).FindStringSubmatch(readUnit(t, unit))[1]
		require.False(t, users[user], "%s is shared", user)
		users[user] = true
		for _, file := range []string{"etc/duffy/id_ed25519", "etc/duffy/duffy.yaml", "var/lib/duffy/state", "etc/duffy-legacy/legacy.yaml"} {
			_, err := in.as(t, user, exec.CommandContext(t.Context(), "cat", in.path(file)))
			require.Equal(t, slices.Contains(may[unit], file), err == nil, "%s reads %s", unit, file)
			_, err = in.as(t, user, exec.CommandContext(t.Context(), "sh", "-c", `: >>"$0"`, in.path(file)))
			require.Equal(t, file == "var/lib/duffy/state" && unit == "duffy-tasks", err == nil, "%s writes %s", unit, file)
		}
		cmd := programIn(t.Context(), t, "/", "-c", in.path(config[unit]), "config", "check")
		cmd.Path = program
		output, err := in.as(t, user, cmd)
		require.NoError(t, err, "%s: %s", unit, output)
		require.NotContains(t, output, "WARNING", unit)
	}
	// And the operator, who is root.
	for _, dir := range config {
		cmd := programIn(t.Context(), t, "/", "-c", in.path(dir), "config", "check")
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", output)
		require.NotContains(t, string(output), "WARNING")
	}
}

func copyProgram(t *testing.T, to string) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	text, err := os.ReadFile(program)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, text, 0o755))
	require.NoError(t, os.Chmod(to, fs.FileMode(0o755)))
}

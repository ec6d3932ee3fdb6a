package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	units         = "../../packaging/systemd"
	legacyDir     = "/etc/duffy-legacy" // where the legacy API has its configuration
	unitsExposure = "21"                // at most, in tenths of the measure of systemd-analyze
)

var unitNames = []string{"duffy-app", "duffy-metaclient", "duffy-tasks"}

// TestUnits starts what the units start, with and without the options that Duffy 3
// takes from the same variables, until it says that it has understood them.
func TestUnits(t *testing.T) {
	t.Parallel()
	const served, refused = " * Starting Duffy", "the database is empty: run duffy setup-db"
	dir := t.TempDir()
	file := writeConfig(t, "metaclient: {port: %d}\ndatabase: {url: 'sqlite:///%s/duffy.sqlite'}\n", freePort(t), dir)
	overrides := filepath.Join(dir, "overrides.yml")
	require.NoError(t, os.WriteFile(overrides, []byte("metaclient: {loglevel: debug}\n"), 0o600))
	for unit, tt := range map[string]struct{ service, options, says string }{
		"duffy-app":        {"DUFFY_APP", "--no-reload -H localhost -p 8081", refused},
		"duffy-metaclient": {"DUFFY_METACLIENT", fmt.Sprint("-D http://127.0.0.1:1 -p ", freePort(t)), served},
		"duffy-tasks":      {"DUFFY_TASKS", "-B --schedule-filename " + dir + "/beat --concurrency=4 -l INFO", refused},
	} {
		for name, env := range map[string]map[string]string{
			"plain":        {"DUFFY_OPTS": "-c " + file},
			"with options": {"DUFFY_OPTS": "-l debug --config " + file, tt.service + "_OPTS": tt.options},
			"as CentOS sets them": {
				"DUFFY_GLOBAL_OPTS":         "--loglevel=warning",
				tt.service + "_GLOBAL_OPTS": "--loglevel=INFO -c " + file + " -c " + overrides,
				tt.service + "_OPTS":        tt.options,
			},
			"for all": {"DUFFY_GLOBAL_OPTS": "-c " + file},
		} {
			t.Run(unit+" "+name, func(t *testing.T) {
				t.Parallel()
				args := commandLine(t, unit, env)
				if i := slices.Index(args, legacyDir); i >= 0 {
					args[i] = filepath.Dir(file)
				}
				s := startServing(t, args...)
				require.Eventually(t, func() bool {
					return strings.Contains(s.stdout.String()+s.stderr.String(), tt.says)
				}, time.Minute, 10*time.Millisecond, "%s", &s.stderr)
				s.stop()
				<-s.code
			})
		}
	}
}

// TestUnitsReadAllOptions has no variable of Duffy 3's environment files dropped: those
// of its own role for Ansible, and those of the one that CentOS runs it by.
func TestUnitsReadAllOptions(t *testing.T) {
	t.Parallel()
	for _, unit := range unitNames {
		service := strings.ToUpper(strings.ReplaceAll(unit, "-", "_"))
		variables := []string{"DUFFY_OPTS", "DUFFY_GLOBAL_OPTS", service + "_GLOBAL_OPTS", service + "_OPTS"}
		starts := regexp.MustCompile(`(?m)^ExecStart=/.*$`).FindAllString(readUnit(t, unit), -1)
		if dropIn, err := os.ReadFile(filepath.Join(units, "one-user", unit+".conf")); err == nil {
			starts = append(starts, regexp.MustCompile(`(?m)^ExecStart=/.*$`).FindAllString(string(dropIn), -1)...)
		}
		for _, start := range starts {
			require.Equal(t, variables, regexp.MustCompile(`DUFFY_\w+`).FindAllString(start, -1), "in this order: later ones win")
		}
		require.Contains(t, readUnit(t, unit), "\nEnvironment="+strings.Join(variables, "= ")+"=\n", "which none has to set")
	}
}

// commandLine returns the arguments that a unit starts the program with.
func commandLine(t *testing.T, unit string, env map[string]string) []string {
	start := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/duffy (.*)$`).FindStringSubmatch(readUnit(t, unit))
	require.NotNil(t, start)
	return strings.Fields(os.Expand(start[1], func(name string) string { return env[name] }))
}

func readUnit(t *testing.T, unit string) string {
	text, err := os.ReadFile(filepath.Join(units, unit+".service"))
	require.NoError(t, err)
	return string(text)
}

// TestUnitsWaitLongEnough has systemd kill nothing that is still given time.
func TestUnitsWaitLongEnough(t *testing.T) {
	t.Parallel()
	for _, unit := range unitNames {
		timeout := regexp.MustCompile(`(?m)^TimeoutStopSec=(.*)$`).FindStringSubmatch(readUnit(t, unit))
		require.NotNil(t, timeout, unit)
		wait, err := time.ParseDuration(timeout[1])
		require.NoError(t, err)
		require.Greater(t, wait, drainTimeout, unit)
	}
}

// TestUnitsAreSound has systemd look for mistakes in the units, and for what it
// thinks that they should not be allowed.
func TestUnitsAreSound(t *testing.T) {
	t.Parallel()
	need(t, installed("systemd-analyze"), "systemd-analyze of Debian's package systemd")
	program, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	var files []string
	for _, unit := range unitNames {
		file := filepath.Join(dir, unit+".service")
		text := strings.ReplaceAll(readUnit(t, unit), "/usr/local/bin/duffy", program) // which has to exist
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		files = append(files, file)
		if dropIn, err := os.ReadFile(filepath.Join(units, "one-user", unit+".conf")); err == nil {
			file := filepath.Join(dir, "one-user", unit+".service")
			require.NoError(t, os.MkdirAll(file+".d", 0o700))
			require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			text := strings.ReplaceAll(string(dropIn), "/usr/local/bin/duffy", program)
			require.NoError(t, os.WriteFile(filepath.Join(file+".d", unit+".conf"), []byte(text), 0o600))
			files = append(files, file)
		}
	}
	require.Len(t, files, len(unitNames)+2)
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out))
	for _, file := range files {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold="+unitsExposure, file).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

// TestUnitsKeepOut has no unit write to homes, or make files for others.
func TestUnitsKeepOut(t *testing.T) {
	t.Parallel()
	for _, unit := range unitNames {
		text := readUnit(t, unit)
		require.Contains(t, text, "\nUMask=0077\n", unit)
		require.Contains(t, text, "\nProtectSystem=strict\n", unit)
		require.Regexp(t, `(?m)^ProtectHome=(true|read-only)$`, text, unit)
		require.NotRegexp(t, `(?m)^(ReadWritePaths|BindPaths)=`, text, unit)
		require.Equal(t, unit == "duffy-tasks", strings.Contains(text, "\nStateDirectory="), "%s writes to /var/lib/duffy", unit)
	}
}

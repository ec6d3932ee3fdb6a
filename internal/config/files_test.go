package config_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/config"
)

// write writes files, named and filled by turns, into a new directory.
func write(t testing.TB, files ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600))
	}
	return dir
}

func load(t testing.TB, paths ...string) *config.Files {
	t.Helper()
	files, err := config.Load(paths...)
	require.NoError(t, err)
	return files
}

func dump(t testing.TB, files *config.Files) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, files.Dump(&out))
	return out.String()
}

func TestNothing(t *testing.T) {
	t.Parallel()
	for _, files := range []*config.Files{
		load(t),
		load(t, write(t)),
		load(t, write(t, "empty.yaml", "", "comment.yaml", "# nothing\n---\n---\n{}\n---\n~\n")),
	} {
		require.Empty(t, files.Keys())
		require.Empty(t, files.Merged())
		require.Empty(t, files.Pools())
		require.Empty(t, files.Ignored())
		require.Equal(t, "{}\n", dump(t, files))
		require.Equal(t, config.Config{
			App: config.App{LogLevel: "info", Host: "127.0.0.1", Port: 8080, AnonymousRead: config.AnonymousLimited},
			Metaclient: config.Metaclient{
				LogLevel: "info", Host: "127.0.0.1", Port: 9090,
				Dest: "http://127.0.0.1:8080", Usermap: map[string]string{},
			},
			Tasks:    config.Tasks{Queue: config.QueueRiver},
			Defaults: config.Defaults{SessionLifetime: 6 * time.Hour, SessionLifetimeMax: 12 * time.Hour, NodeQuota: 10},
		}, files.Config())
	}
}

func TestDuffy3(t *testing.T) {
	t.Parallel()
	files := load(t, "testdata/duffy3.yaml")

	c := files.Config()
	require.Equal(t, config.Client{
		URL: "http://127.0.0.1:18090/api/v1", AuthName: "tenant", AuthKey: "a8b9899d-b128-59a1-aa86-754920b7f5ed",
	}, c.Client)
	require.Equal(t, config.App{LogLevel: "warning", Host: "127.0.0.1", Port: 18090, AnonymousRead: config.AnonymousLimited}, c.App)
	require.Equal(t, "nosuchtenant", c.Metaclient.Usermap["fca07101-daea-4b8c-acb4-88ba8ae7654c"])
	require.Len(t, c.Metaclient.Poolmap, 3)
	require.Equal(t, config.PoolMapping{
		Pool: "virtual-{{ ver | replace('-', '') }}-x86_64-{{ flavor }}", Arch: "x86_64", Flavor: "^(small|medium|large)$",
	}, c.Metaclient.Poolmap[1])
	require.Equal(t, "{{ hostname | replace('.example.net', '') }}", c.Metaclient.MangleHostname)
	require.Equal(t, config.Tasks{
		Queue: config.QueueRiver, FillPools: 5 * time.Minute, ExpireSessions: 5 * time.Minute,
	}, c.Tasks)
	require.Equal(t, "postgresql://postgres@127.0.0.1:15432/golden", c.Database.URL)

	require.Equal(t, []string{"client", "app", "metaclient", "tasks", "database", "defaults", "nodepools"}, files.Keys())
	require.Equal(t, []string{
		"app.logging", "app.retries", "metaclient.logging", "tasks.celery", "tasks.locking", "defaults.retries",
	}, files.Ignored())

	pools := files.Pools()
	require.Len(t, pools, 7+14)
	require.Equal(t, "mech-ansible", pools[0].Name)
	require.True(t, pools[6].Abstract)
	require.Equal(t, "physical-centos8stream-x86_64", pools[7].Name)
	require.False(t, pools[7].Abstract)
	require.Equal(t, config.Pool{Name: "nolevel", Settings: map[string]any{"extends": "virtual"}}, pools[20])
}

func TestDumpIsThatOfDuffy3(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/duffy3.dump")
	require.NoError(t, err)
	require.Equal(t, string(want), dump(t, load(t, "testdata/duffy3.yaml")))

	files := load(t, write(t,
		"a.yaml", "app:\n  port: 1234\n  host: a\n",
		"b.yaml", "app:\n  loglevel: info\n  host: b\n"))
	require.Equal(t, "app:\n  host: b\n  loglevel: info\n  port: 1234\n", dump(t, files))
}

func TestExample(t *testing.T) {
	t.Parallel()
	files := load(t, "testdata/example.yaml")
	c := files.Config()
	require.Equal(t, config.AnonymousNone, c.App.AnonymousRead)
	require.True(t, c.Metaclient.ErrorsV2)
	require.True(t, c.Metaclient.SSIDAsString)
	require.Equal(t, config.Tasks{
		Queue: config.QueueAsynq, Redis: "redis://localhost:6379/1",
		Workers: 8, LongWorkers: 20, ShutdownTimeout: 10 * time.Second,
		FillPools: 5 * time.Minute, ExpireSessions: 90 * time.Second,
	}, c.Tasks)
	require.Equal(t, "sqlite:///:memory:", c.Database.URL)
	require.Equal(t, config.Defaults{SessionLifetime: 6 * time.Hour, SessionLifetimeMax: 36 * time.Hour, NodeQuota: 5}, c.Defaults)
	require.Equal(t, config.SSH{
		User: "admin", Port: 2222, KeyFiles: []string{"/etc/duffy/id_ed25519"}, Agent: "/run/agent",
		HostKeys: "pinned", AuthorizedKeys: "/etc/ssh/keys/%u", ProxyJump: "jump@gate.example:2222",
		KexAlgorithms: "+diffie-hellman-group14-sha1", Ciphers: "+aes128-cbc", MACs: "+hmac-sha1-96",
		ConnectTimeout: 2500 * time.Millisecond, CommandTimeout: 20 * time.Second,
	}, c.SSH)
	require.Equal(t, "any", load(t, write(t, "a.yaml", "ssh: {host-keys: ignore}\n")).Config().SSH.HostKeys)
	require.Empty(t, load(t, write(t, "a.yaml", "ssh: {}\n")).Config().SSH.HostKeys)
	require.Equal(t, config.Ansible{Concurrency: 4}, c.Ansible)

	require.Equal(t, []string{
		"app.logging", "metaclient.logging", "tasks.celery", "tasks.locking", "defaults.retries", "database.sqlalchemy.echo",
	}, files.Ignored())

	pools := files.Pools()
	require.Len(t, pools, 3)
	require.Equal(t, map[string]any{"extends": []any{"virtual"}, "fill-level": int64(20)}, pools[2].Settings)
	require.Equal(t, "testdata/example.yaml:107", files.Where("nodepools", "concrete", "virtual-small", "extends", "0"))
}

func TestProduction(t *testing.T) {
	t.Parallel()
	const dir = "testdata/production"
	files := load(t, dir)
	c := files.Config()
	require.Equal(t, "postgresql:///duffy", c.Database.URL)
	require.Equal(t, 10, c.Defaults.NodeQuota, "which this configuration does not set")
	require.Empty(t, c.Metaclient.Usermap)
	require.Equal(t, []string{"app", "metaclient", "tasks", "database", "defaults", "nodepools"}, files.Keys())

	virtual := files.Pools()[1]
	require.Equal(t, map[string]any{
		"api_url": "http://cloud.example.net:2633", "api_username": "duffy", "api_password": "swordfish",
	}, virtual.Settings["mechanism"].(map[string]any)["ansible"].(map[string]any)["extra-vars"])

	pools, secrets := filepath.Join(dir, "70_nodepools.yaml"), filepath.Join(dir, "80_secrets.yaml")
	require.Equal(t, pools+":13", files.Where("nodepools", "abstract", "virtual", "extends"))
	require.Equal(t, pools+":18", files.Where("nodepools", "abstract", "virtual", "mechanism", "ansible", "extra-vars", "api_url"))
	require.Equal(t, secrets+":8", files.Where("nodepools", "abstract", "virtual", "mechanism", "ansible", "extra-vars", "api_username"))
	require.Equal(t, secrets+":4", files.Where("nodepools", "abstract", "virtual"))
	require.Empty(t, files.Where("nodepools", "abstract", "virtual", "fill-level"))
}

func TestOrderOfFiles(t *testing.T) {
	t.Parallel()
	dir := write(t,
		"10.yml", "app: {host: ten, port: 10}",
		"20.yaml", "app: {port: 20}\n---\n# nothing\n---\ndefaults: {node-quota: 20}",
		"9.yaml", "client: {}\napp: {port: 9}",
		"5.conf", "app: {port: what?}",
		"extra.json", "{}")
	files := load(t, dir)
	require.Equal(t, 9, files.Config().App.Port)
	require.Equal(t, "ten", files.Config().App.Host)
	require.Equal(t, 20, files.Config().Defaults.NodeQuota)
	require.Equal(t, []string{"app", "defaults", "client"}, files.Keys())

	files = load(t, filepath.Join(dir, "9.yaml"), dir, filepath.Join(dir, "10.yml"))
	require.Equal(t, 10, files.Config().App.Port)
	require.Equal(t, []string{"client", "app", "defaults"}, files.Keys())
}

func TestOrderOfPools(t *testing.T) {
	t.Parallel()
	files := load(t, write(t,
		"a.yaml", "nodepools: {concrete: {z: {}, a: {}}, abstract: {y: {}}}",
		"b.yaml", "nodepools: {abstract: {b: {}}, concrete: {m: {}, z: {x: 1}}}"))
	var names []string
	for _, pool := range files.Pools() {
		names = append(names, pool.Name)
	}
	require.Equal(t, []string{"y", "b", "z", "a", "m"}, names)
}

func TestMerge(t *testing.T) {
	t.Parallel()
	files := load(t, write(t,
		"a.yaml", "nodepools: {abstract: {p: {list: [1, 2], map: {a: 1, b: {c: 1}}, set: ~, one: 1}}}",
		"b.yaml", "nodepools: {abstract: {p: {list: [3], map: {b: {d: 2}}, set: {e: 1}, one: ~}}}"))
	require.Equal(t, map[string]any{
		"list": []any{int64(3)},
		"map":  map[string]any{"a": int64(1), "b": map[string]any{"c": int64(1), "d": int64(2)}},
		"set":  map[string]any{"e": int64(1)},
		"one":  nil,
	}, files.Pools()[0].Settings)
}

func TestAt(t *testing.T) {
	t.Parallel()
	dir := write(t, "a.yaml", "nodepools:\n  concrete:\n    p:\n      x: 1\n")
	files := load(t, dir)
	file := filepath.Join(dir, "a.yaml")
	for want, path := range map[string][]string{
		file + ":4: nodepools.concrete.p.x: file does not exist":   {"nodepools", "concrete", "p", "x"},
		file + ":3: nodepools.concrete.p.y.z: file does not exist": {"nodepools", "concrete", "p", "y", "z"},
		"database.url: file does not exist":                        {"database", "url"},
	} {
		err := files.At(fs.ErrNotExist, path...)
		require.EqualError(t, err, want)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
}

func TestDefaultPaths(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	dir := filepath.Join(home, ".config", "duffy")
	require.NotContains(t, config.DefaultPaths(), dir)

	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.Contains(t, config.DefaultPaths(), dir)

	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "xdg"))
	require.NotContains(t, config.DefaultPaths(), dir)
	require.NoError(t, os.Mkdir(filepath.Join(home, "xdg"), 0o700))
	file := filepath.Join(home, "xdg", "duffy")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Contains(t, config.DefaultPaths(), file)
}

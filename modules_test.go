package duffy_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// programs are what is released.
var programs = []string{"./cmd/duffy", "./cmd/duffy-client"}

// A linkedModule is one that is in a released program without being a library of
// the table above.
type linkedModule struct {
	by   string // the library that needs it
	note string // for old versions: why the module is no danger
}

// linked lists all of them. A module is added here after a look at how it is kept;
// one that is not kept at all needs a reason, or a library that does without it.
var linked = map[string]linkedModule{
	"github.com/beorn7/perks":             {"github.com/prometheus/client_golang", "an algorithm by one of Prometheus' maintainers, done"},
	"github.com/cespare/xxhash/v2":        {by: "github.com/prometheus/client_golang"},
	"github.com/dgryski/go-rendezvous":    {"github.com/hibiken/asynq", "80 lines below the Redis client, done"},
	"github.com/dustin/go-humanize":       {by: "modernc.org/sqlite"},
	"github.com/jackc/pgpassfile":         {"github.com/jackc/pgx/v5", "by the author of pgx, reads one file format"},
	"github.com/jackc/pgservicefile":      {by: "github.com/jackc/pgx/v5"},
	"github.com/jackc/puddle/v2":          {by: "github.com/jackc/pgx/v5"},
	"github.com/jinzhu/inflection":        {"github.com/uptrace/bun", "plurals of the names of our own types"},
	"github.com/json-iterator/go":         {"github.com/nikolalohinski/gonja/v2", "archived; writes JSON for the filter pprint, and reads none"},
	"github.com/modern-go/concurrent":     {"github.com/nikolalohinski/gonja/v2", "archived; below json-iterator"},
	"github.com/modern-go/reflect2":       {"github.com/nikolalohinski/gonja/v2", "archived; below json-iterator"},
	"github.com/munnerz/goautoneg":        {"github.com/prometheus/client_golang", "reads Accept headers of scrapes, done; Prometheus and Kubernetes share it"},
	"github.com/pkg/errors":               {"github.com/nikolalohinski/gonja/v2", "archived as done: wraps errors"},
	"github.com/prometheus/common":        {by: "github.com/prometheus/client_golang"},
	"github.com/prometheus/procfs":        {by: "github.com/prometheus/client_golang"},
	"github.com/puzpuzpuz/xsync/v3":       {by: "github.com/uptrace/bun"},
	"github.com/redis/go-redis/v9":        {by: "github.com/hibiken/asynq"},
	"github.com/remyoudompheng/bigfft":    {"modernc.org/sqlite", "multiplies large numbers, done"},
	"github.com/robfig/cron/v3":           {"github.com/hibiken/asynq", "not kept; for its scheduler, which does not run here"},
	"github.com/sirupsen/logrus":          {"github.com/nikolalohinski/gonja/v2", "kept, in maintenance mode"},
	"github.com/spf13/cast":               {by: "github.com/hibiken/asynq"},
	"github.com/tidwall/gjson":            {by: "github.com/riverqueue/river"},
	"github.com/tidwall/match":            {by: "github.com/riverqueue/river"},
	"github.com/tidwall/pretty":           {"github.com/riverqueue/river", "by the author of gjson, which is kept"},
	"github.com/tidwall/sjson":            {"github.com/riverqueue/river", "by the author of gjson, which is kept"},
	"github.com/tmthrgd/go-hex":           {"github.com/uptrace/bun", "writes values in hexadecimal, done"},
	"github.com/vearutop/statigz":         {"github.com/swaggest/swgui", "by the author of swgui, serves files from memory"},
	"github.com/vmihailenco/msgpack/v5":   {"github.com/uptrace/bun", "by the authors of bun, for a type of column that we have none of"},
	"github.com/vmihailenco/tagparser/v2": {"github.com/uptrace/bun", "by the authors of bun, reads tags of our own types"},
	"golang.org/x/exp":                    {by: "github.com/nikolalohinski/gonja/v2"},
	"golang.org/x/text":                   {by: "github.com/jackc/pgx/v5"},
	"google.golang.org/protobuf":          {by: "github.com/prometheus/client_golang"},
	"modernc.org/libc":                    {by: "modernc.org/sqlite"},
	"modernc.org/mathutil":                {by: "modernc.org/sqlite"},
	"modernc.org/memory":                  {by: "modernc.org/sqlite"},
	"github.com/hashicorp/golang-lru/v2":  {"", "done, and kept by HashiCorp"},
}

// oldAfter is how much older than the newest of all modules a version may be
// before somebody has to say why it is no danger.
const oldAfter = 3 * 365 * 24 * time.Hour

// TestLinkedModules has nothing get into released programs unseen.
func TestLinkedModules(t *testing.T) {
	t.Parallel()
	modules := map[string]time.Time{}
	var newest time.Time
	for _, arch := range []string{"amd64", "arm64"} {
		for path, at := range modulesOf(t, arch) {
			modules[path] = at
			if at.After(newest) {
				newest = at
			}
		}
	}
	require.NotEmpty(t, modules)
	for path, at := range modules {
		entry, listed := linked[path]
		direct := libraryOf(path) != ""
		assert.True(t, listed || direct, "%s is linked: look at how it is kept, and list it with what needs it", path)
		assert.Equal(t, direct, entry.by == "", "%s: linked says which library needs it, if it is not one of the libraries", path)
		assert.True(t, newest.Sub(at) < oldAfter || entry.note != "",
			"%s is of %s: if it is not kept any more do without it, otherwise note in linked why it is no danger", path, at.Format(time.DateOnly))
	}
	for path, entry := range linked {
		assert.Contains(t, modules, path, "it is not linked any more")
		if entry.by != "" {
			assert.Contains(t, libraries, entry.by, "what needs %s", path)
		}
	}
}

// modulesOf returns the modules that are linked into the released programs for
// Linux, with the times of their versions.
func modulesOf(t *testing.T, arch string) map[string]time.Time {
	args := append([]string{"list", "-deps", "-json=Module"}, programs...)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0", "GOARCH="+arch)
	out, err := cmd.Output()
	require.NoError(t, err)
	modules := map[string]time.Time{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			Module *struct {
				Path string
				Main bool
				Time time.Time
			}
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return modules
		}
		require.NoError(t, err)
		if p.Module != nil && !p.Module.Main {
			assert.NotZero(t, p.Module.Time, "%s: go mod download tells when its version was made", p.Module.Path)
			modules[p.Module.Path] = p.Module.Time
		}
	}
}

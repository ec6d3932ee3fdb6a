package duffy_test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/duffy-ci/duffy"

// packages lists every package, from the leaves up, with all that it may import
// from this module.
var packages = map[string]string{
	"backend": "",
	"queue":   "",

	"internal/completion": "",
	"internal/duration":   "",
	"internal/fault":      "",
	"internal/jinja":      "",
	"internal/foreign":    "",
	"internal/secretfile": "",
	"internal/config":     "internal/duration",
	"internal/db":         "",

	"internal/foreign/seam": "backend internal/foreign",

	"backend/ansible":  "backend internal/jinja",
	"backend/ssh":      "backend",
	"backend/loopback": "backend",
	"queue/riverqueue": "queue",
	"queue/asynqqueue": "queue",

	"tenant":  "internal/db internal/fault",
	"pool":    "backend internal/db internal/duration internal/fault internal/foreign internal/foreign/seam internal/jinja queue",
	"session": "backend internal/db internal/fault internal/foreign/seam pool queue tenant",

	"httpapi/apiv1": "",
	"httpapi":       "httpapi/apiv1 internal/db internal/duration internal/fault pool session tenant",
	".": "backend backend/ansible backend/ssh httpapi internal/config internal/db internal/foreign pool queue " +
		"queue/riverqueue " +
		"session tenant",

	"httpapi/client":     "httpapi/apiv1",
	"internal/clientcli": "httpapi/apiv1 httpapi/client internal/foreign internal/secretfile",
	"legacy":             "httpapi/apiv1 httpapi/client internal/jinja",

	"cmd/duffy": ". backend backend/loopback backend/ssh httpapi httpapi/apiv1 httpapi/client internal/clientcli " +
		"internal/completion internal/config internal/db internal/duration internal/fault internal/foreign internal/secretfile " +
		"legacy pool queue queue/asynqqueue session tenant",
	"cmd/duffy-client": "internal/clientcli internal/completion internal/config internal/foreign",

	"examples/backend": "backend",
	"examples/client":  "httpapi/apiv1 httpapi/client",
	"examples/embed":   ". backend examples/backend pool tenant",

	// For tests only.
	"backend/backendtest":  "backend",
	"backend/fake":         "backend",
	"queue/queuetest":      "queue",
	"internal/browsertest": "",
	"internal/chaos":       "",
	"internal/chaos/cloud": "backend backend/loopback",
	"internal/db/dbtest":   "internal/db internal/testserver",
	"internal/redistest":   "internal/testserver",
	"internal/testserver":  "",
}

// libraries lists every module from elsewhere with the packages that may import
// it: what it is good for is known to them alone, and it can be replaced there.
var libraries = map[string]string{
	"al.essio.dev/pkg/shellescape":        "backend/ssh cmd/duffy",
	"github.com/alecthomas/kong":          "cmd/duffy cmd/duffy-client internal/clientcli internal/completion",
	"github.com/chromedp/chromedp":        "internal/browsertest",
	"github.com/danielgtaylor/huma/v2":    "httpapi",
	"github.com/google/uuid":              "cmd/duffy httpapi legacy queue/asynqqueue tenant",
	"github.com/hashicorp/golang-lru/v2":  "httpapi tenant",
	"github.com/hibiken/asynq":            "queue/asynqqueue",
	"github.com/klauspost/compress":       "httpapi",
	"github.com/jackc/pgx/v5":             "internal/db queue/riverqueue tenant",
	"github.com/nikolalohinski/gonja/v2":  "internal/jinja",
	"github.com/prometheus/client_golang": ". httpapi pool session",
	"github.com/prometheus/client_model":  ".",
	"github.com/riverqueue/river":         "queue/riverqueue",
	"github.com/stretchr/testify":         "backend/backendtest internal/browsertest internal/db/dbtest internal/redistest queue/queuetest",
	"github.com/swaggest/swgui":           "httpapi",
	"github.com/uptrace/bun":              ". cmd/duffy internal/db pool queue queue/asynqqueue queue/queuetest queue/riverqueue session tenant",
	"go.yaml.in/yaml/v4":                  "backend/ansible cmd/duffy internal/clientcli internal/config",
	"golang.org/x/crypto":                 "backend/backendtest backend/loopback backend/ssh cmd/duffy tenant",
	"golang.org/x/sync":                   ". backend/backendtest cmd/duffy httpapi internal/db session tenant",
	"golang.org/x/sys":                    "backend/ansible backend/loopback internal/db",
	"golang.org/x/term":                   "cmd/duffy internal/clientcli",
	"golang.org/x/time":                   "tenant",
	"modernc.org/sqlite":                  "internal/db",
}

// TestImports keeps packages in their order, and libraries where they belong.
func TestImports(t *testing.T) {
	t.Parallel()
	imports := list(t)
	for name := range imports {
		assert.Contains(t, packages, name, "a new package: list it with what it may import")
	}
	users := map[string][]string{}
	for name, allowed := range packages {
		assert.Contains(t, imports, name, "there is no such package any more")
		for _, path := range imports[name] {
			if own, ok := relative(path); ok {
				assert.Contains(t, strings.Fields(allowed), own, "what %s may import", name)
			} else if strings.Contains(strings.Split(path, "/")[0], ".") {
				library := libraryOf(path)
				assert.Contains(t, strings.Fields(libraries[library]), name, "what may import %s", path)
				users[library] = append(users[library], name)
			}
		}
	}
	for library := range libraries {
		assert.Contains(t, users, library, "nothing imports it any more")
	}
}

// list returns what packages import, by their path in this module.
func list(t *testing.T) map[string][]string {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	require.NoError(t, err)
	imports := map[string][]string{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return imports
		}
		require.NoError(t, err)
		name, _ := relative(p.ImportPath)
		imports[name] = p.Imports
	}
}

// relative returns the path of a package in this module, and whether it is in it.
func relative(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func libraryOf(path string) string {
	for _, library := range slices.Sorted(maps.Keys(libraries)) {
		if path == library || strings.HasPrefix(path, library+"/") {
			return library
		}
	}
	return ""
}

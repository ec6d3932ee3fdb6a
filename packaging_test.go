package duffy_test

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

const (
	dashboardFile = "packaging/grafana/duffy.json"
	alertsFile    = "packaging/prometheus/alerts.yaml"
)

// TestMonitoringUsesWhatIsExported has the dashboard and the alerts speak of
// metrics, labels and values of labels that there are, and the guide of all.
func TestMonitoringUsesWhatIsExported(t *testing.T) {
	t.Parallel()
	w := newWatched(t, databases["sqlite"](t))
	w.traffic()
	exported := exportedLabels(scrape(t, w.monitor))
	for where, queries := range map[string][]string{dashboardFile: dashboardQueries(t), alertsFile: alertQueries(t)} {
		require.NotEmpty(t, queries, where)
		for _, query := range queries {
			for _, name := range metricName.FindAllString(query, -1) {
				require.Contains(t, exported, name, "%s: %s", where, query)
			}
			for _, found := range selector.FindAllStringSubmatch(query, -1) {
				for _, m := range matcher.FindAllStringSubmatch(found[2], -1) {
					requireLabel(t, exported[found[1]], m[1], m[2], "%s: %s", where, query)
				}
			}
			for _, found := range grouping.FindAllStringSubmatch(query, -1) {
				for _, name := range label.FindAllString(found[1], -1) {
					require.True(t, isLabelOf(name, query, exported), "%s: nothing has a label %s: %s", where, name, query)
				}
			}
		}
	}
	documented := map[string]bool{}
	for _, found := range documentedMetric.FindAllStringSubmatch(read(t, "docs/operators-guide.md"), -1) {
		documented[found[1]] = true
	}
	families := map[string]bool{}
	for name := range exported {
		if strings.HasPrefix(name, "duffy_") {
			families[family(name)] = true
		}
	}
	require.Equal(t, families, documented, "docs/operators-guide.md says what every metric is")
}

var documentedMetric = regexp.MustCompile("(?m)^\\| `(duffy_\\w+)` \\|")

var (
	metricName = regexp.MustCompile(`\b(?:duffy|go|process)_\w+`)
	selector   = regexp.MustCompile(`\b(duffy_\w+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`(\w+)(?:=~|!=|!~|=)"([^"]*)"`)
	grouping   = regexp.MustCompile(`\b(?:by|on)\s*\(([^)]*)\)`)
	sample     = regexp.MustCompile(`^(\w+)(?:\{(.*)\})?$`)
	label      = regexp.MustCompile(`\w+`)
	suffix     = regexp.MustCompile(`_(bucket|sum|count)$`)
)

func family(name string) string { return suffix.ReplaceAllString(name, "") }

// exportedLabels returns metrics with their labels and all values of these.
func exportedLabels(samples map[string]float64) map[string]map[string][]string {
	exported := map[string]map[string][]string{}
	for text := range samples {
		found := sample.FindStringSubmatch(text)
		if exported[found[1]] == nil {
			exported[found[1]] = map[string][]string{}
		}
		for _, m := range matcher.FindAllStringSubmatch(found[2], -1) {
			exported[found[1]][m[1]] = append(exported[found[1]][m[1]], m[2])
		}
	}
	return exported
}

// open are the labels whose values are not all among those of a short run.
var open = []string{"pool", "result", "status"}

// requireLabel checks what a label is compared with, a value or several of them.
func requireLabel(t *testing.T, labels map[string][]string, label, values string, place ...any) {
	t.Helper()
	require.Contains(t, labels, label, place...)
	if slices.Contains(open, label) {
		return
	}
	for value := range strings.SplitSeq(values, "|") {
		require.Contains(t, labels[label], value, place...)
	}
}

// isLabelOf tells whether a metric in a query has a label, or Prometheus adds it.
func isLabelOf(label, query string, exported map[string]map[string][]string) bool {
	if label == "job" || label == "instance" {
		return true
	}
	return slices.ContainsFunc(metricName.FindAllString(query, -1), func(name string) bool {
		return exported[name][label] != nil
	})
}

// dashboardQueries returns what stands in the dashboard where queries do.
func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	var dashboard any
	require.NoError(t, json.Unmarshal([]byte(read(t, dashboardFile)), &dashboard))
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			for key, item := range v {
				if text, ok := item.(string); ok && (key == "expr" || key == "query") {
					queries = append(queries, text)
				}
				walk(item)
			}
		}
	}
	walk(dashboard)
	return queries
}

// alertQueries returns the alerts' expressions. Each alert has to say what is the
// matter and what to do.
func alertQueries(t *testing.T) (queries []string) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, alertsFile)), &file))
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			require.Contains(t, []string{"critical", "warning", "info"}, rule.Labels["severity"], rule.Alert)
			require.Subset(t, slices.Collect(maps.Keys(rule.Annotations)), []string{"summary", "description"}, rule.Alert)
			queries = append(queries, rule.Expr)
		}
	}
	return queries
}

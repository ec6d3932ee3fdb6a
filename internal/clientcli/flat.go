package clientcli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// flatText prints shell assignments, one line a pool or a node of a session. A
// session without nodes is an empty line, an empty list nothing.
func flatText(answer json.RawMessage) ([]byte, error) {
	var document struct {
		Error    *struct{ Detail string }
		Pool     *apiv1.Pool
		Pools    []apiv1.Pool
		Session  *apiv1.Session
		Sessions []apiv1.Session
	}
	if err := json.Unmarshal(answer, &document); err != nil {
		return nil, err
	}
	var lines []string
	switch {
	case document.Error != nil:
		lines = []string{assign("error", document.Error.Detail)}
	case document.Pool != nil:
		lines = []string{flatPool(*document.Pool)}
	case document.Pools != nil:
		for _, pool := range document.Pools {
			lines = append(lines, flatPool(pool))
		}
	case document.Session != nil:
		lines = flatSession(*document.Session)
		if lines == nil {
			lines = []string{""}
		}
	case document.Sessions != nil:
		for _, session := range document.Sessions {
			lines = append(lines, flatSession(session)...)
		}
	default:
		return nil, errors.New("it has neither pools nor sessions")
	}
	var text strings.Builder
	for _, line := range lines {
		fmt.Fprintln(&text, line)
	}
	return []byte(text.String()), nil
}

func flatPool(pool apiv1.Pool) string {
	fields := []string{assign("pool_name", pool.Name), assign("fill_level", pool.FillLevel)}
	if levels := pool.Levels; levels != nil {
		fields = append(fields,
			assign("levels_provisioning", levels.Provisioning),
			assign("levels_ready", levels.Ready),
			assign("levels_contextualizing", levels.Contextualizing),
			assign("levels_deployed", levels.Deployed),
			assign("levels_deprovisioning", levels.Deprovisioning))
	}
	return strings.Join(fields, " ")
}

func flatSession(session apiv1.Session) (lines []string) {
	slices.SortStableFunc(session.Nodes, func(a, b apiv1.SessionNode) int {
		return cmp.Or(
			cmp.Compare(orEmpty(a.Pool), orEmpty(b.Pool)),
			cmp.Compare(orEmpty(a.Hostname), orEmpty(b.Hostname)),
			cmp.Compare(orEmpty(a.IPAddr), orEmpty(b.IPAddr)))
	})
	for _, node := range session.Nodes {
		lines = append(lines, strings.Join([]string{
			assign("session_id", session.ID),
			assign("active", session.Active),
			assign("created_at", &session.CreatedAt),
			assign("retired_at", session.RetiredAt),
			assign("pool", node.Pool),
			assign("hostname", node.Hostname),
			assign("ipaddr", node.IPAddr),
		}, " "))
	}
	return lines
}

// orEmpty makes null sort first.
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// assign returns a shell assignment; of nothing, if value is null.
func assign(key string, value any) string {
	switch value := value.(type) {
	case bool:
		return key + "=" + strings.ToUpper(strconv.FormatBool(value))
	case string:
		return key + "=" + quote(value)
	case *string:
		if value != nil {
			return key + "=" + quote(*value)
		}
	case *apiv1.Time:
		if value != nil {
			return key + "=" + quote(strings.Replace(value.String(), "T", " ", 1))
		}
	default:
		return fmt.Sprintf("%s=%d", key, value)
	}
	return key + "="
}

// quote quotes for a shell, even what needs no quotes.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'" }

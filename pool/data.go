package pool

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/internal/foreign"
)

// check returns a fault.Invalid if d is not what would be read again.
func (d Data) check() error {
	written, err := json.Marshal(d)
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "data: it cannot be written as JSON")
	}
	plain, err := decode(written)
	if err != nil || !reflect.DeepEqual(plain, foreign.Data(plain)) {
		return fault.Wrap(fault.Invalid, err, "data: it has U+0000, a number that is too large, or too much text or levels")
	}
	return nil
}

// decode returns the object that a JSON text is, with numbers as they were written.
func decode(text []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	object := map[string]any{}
	err := dec.Decode(&object)
	return object, err
}

// setData has q set a top-level key of the nodes' data to value and remove the
// keys in drop.
func setData(q *bun.UpdateQuery, key string, value any, drop ...string) *bun.UpdateQuery {
	return mergeData(q, map[string]any{key: value}, drop...)
}

// mergeData has q set top-level keys of the nodes' data to values and remove the keys
// in drop.
func mergeData(q *bun.UpdateQuery, values map[string]any, drop ...string) *bun.UpdateQuery {
	keys := slices.Sorted(maps.Keys(values))
	args := make([]any, len(keys))
	for i, key := range keys {
		text, err := encode(values[key])
		if err != nil {
			return q.Err(err)
		}
		args[i] = text
	}
	sql := merged(q.Dialect().Name(), keys, drop)
	if len(args) == 0 {
		return q.Set("data = ?", bun.Safe(sql))
	}
	return q.Set("data = ?", bun.SafeQuery(sql, args...))
}

// dropData has q remove top-level keys of the nodes' data.
func dropData(q *bun.UpdateQuery, keys ...string) *bun.UpdateQuery {
	return mergeData(q, nil, keys...)
}

// encode returns v as JSON in ASCII, which a database stores whatever its encoding is.
func encode(v any) (string, error) {
	text, err := json.Marshal(v)
	return foreign.ASCII(string(text)), err
}

// storable returns text of backends as a column that is no JSON takes it: a database may
// be in an encoding that lacks some characters.
func storable(ctx context.Context, tx bun.Tx, text string) (string, error) {
	ascii := foreign.ASCII(text)
	if ascii == text || tx.Dialect().Name() != dialect.PG {
		return text, nil
	}
	var all bool
	err := tx.NewRaw("SELECT getdatabaseencoding() IN ('UTF8', 'SQL_ASCII')").Scan(ctx, &all)
	if !all {
		text = ascii
	}
	return text, err
}

// merged returns SQL for data with top-level keys set, to the JSON texts that its
// question marks stand for, and those in drop removed. Keys are Duffy's own.
func merged(on dialect.Name, set, drop []string) string {
	if on == dialect.PG {
		return mergedPostgres(set, drop)
	}
	sql := "data"
	for _, key := range drop {
		sql = fmt.Sprintf("json_remove(%s, '%s')", sql, path(key))
	}
	for _, key := range set {
		sql = fmt.Sprintf("json_set(%s, '%s', json(?))", sql, path(key))
	}
	return sql
}

// mergedPostgres takes data apart and puts it together again as it was written. As
// jsonb, text that Duffy 3 and playbooks may have left there would fail, and with it
// the statement for all other nodes: some escapes, and numbers that are too large.
func mergedPostgres(set, drop []string) string {
	var others, members strings.Builder
	for i, key := range slices.Concat(drop, set) {
		if i > 0 {
			others.WriteString(", ")
		}
		fmt.Fprintf(&others, "'%s'", key)
	}
	for _, key := range set {
		fmt.Fprintf(&members, " UNION ALL SELECT '%s', %s", key, opaque("?::text"))
	}
	return fmt.Sprintf(`(SELECT %s FROM (SELECT key, value FROM json_each(%s) WHERE key NOT IN (%s)%s) AS members)::json`,
		transparent("COALESCE(json_object_agg(key, value)::text, '{}')"), opaqueData, others.String(), members.String())
}

// opaqueData is the nodes' data, an object whatever is there, in the form of opaque.
var opaqueData = opaque("CASE json_typeof(data) WHEN 'object' THEN data::text ELSE '{}' END")

// opaque returns SQL for a JSON text without the backslashes in it, so that PostgreSQL
// does not look at the characters that they stand for: each is a DEL and a letter.
func opaque(text string) string {
	return `replace(replace(replace(replace(` + text +
		`, chr(127), chr(127) || 'd'), '\\', chr(127) || 'b'), '\"', chr(127) || 'q'), '\', chr(127) || 's')::json`
}

// transparent returns SQL for the JSON text that opaque was made of.
func transparent(text string) string {
	return `replace(replace(replace(replace(` + text +
		`, chr(127) || 's', '\'), chr(127) || 'q', '\"'), chr(127) || 'b', '\\'), chr(127) || 'd', chr(127))`
}

// whereData has q select nodes whose data has value at the top-level key. Like
// Duffy 3, it compares strings and integers. On PostgreSQL it compares with the ways
// to write them, see mergedPostgres.
func whereData(q *bun.SelectQuery, key string, value any) *bun.SelectQuery {
	text := fmt.Sprint(value)
	if q.Dialect().Name() != dialect.PG {
		return q.Where("CAST(json_extract(data, ?) AS TEXT) = ?", path(key), text)
	}
	return q.Where(transparent("("+opaqueData+" -> ?)::text")+" IN (?)", key, bun.List(spellings(text)))
}

// spellings returns the JSON texts that mean text: a number, and strings as Duffy, Duffy
// 3 and PostgreSQL write them.
func spellings(text string) []string {
	var plain strings.Builder
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // which a string does not fail
	quoted := strings.TrimSuffix(plain.String(), "\n")
	ours, _ := encode(text)
	return []string{text, ours, quoted, foreign.ASCII(quoted)}
}

// failure is what data.error says, in Duffy 3's words.
func failure(at time.Time, reason string) map[string]any {
	return map[string]any{"failed_at": at.Format(time.RFC3339Nano), "detail": reason}
}

func path(key string) string { return "$." + strconv.Quote(key) }

// interruption is a failure that may have left an instance behind.
func interruption(at time.Time, reason string) map[string]any {
	f := failure(at, reason)
	f["interrupted"] = true
	return f
}

// notInterrupted has q select nodes whose failure left nothing behind.
func notInterrupted(q *bun.SelectQuery) *bun.SelectQuery {
	if q.Dialect().Name() == dialect.PG {
		return q.Where(opaqueData + " #> '{error,interrupted}' IS NULL")
	}
	return q.Where("json_extract(data, '$.error.interrupted') IS NULL")
}

package pool

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
	"github.com/uptrace/bun/schema"
)

// setData has q set a top-level key of the nodes' data to value and remove the
// keys in drop.
func setData(q *bun.UpdateQuery, key string, value any, drop ...string) *bun.UpdateQuery {
	return mergeData(q, map[string]any{key: value}, drop...)
}

// mergeData has q set top-level keys of the nodes' data to values and remove the keys
// in drop.
func mergeData(q *bun.UpdateQuery, values map[string]any, drop ...string) *bun.UpdateQuery {
	var data schema.QueryAppender = dataWithout(q, drop)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		text, err := json.Marshal(values[key])
		if err != nil {
			return q.Err(err)
		}
		if q.Dialect().Name() == dialect.PG {
			data = bun.SafeQuery("(? || jsonb_build_object(?, ?::jsonb))", data, key, string(text))
		} else {
			data = bun.SafeQuery("json_set(?, ?, json(?))", data, path(key), string(text))
		}
	}
	if q.Dialect().Name() == dialect.PG {
		return q.Set("data = ?::json", data)
	}
	return q.Set("data = ?", data)
}

// dropData has q remove top-level keys of the nodes' data.
func dropData(q *bun.UpdateQuery, keys ...string) *bun.UpdateQuery {
	return q.Set("data = ?", dataWithout(q, keys))
}

func dataWithout(q *bun.UpdateQuery, keys []string) schema.QueryAppender {
	paths := make([]string, len(keys))
	for i, k := range keys {
		paths[i] = path(k)
	}
	switch pg := q.Dialect().Name() == dialect.PG; {
	case pg && len(keys) > 0:
		return bun.SafeQuery("(data::jsonb - ARRAY[?])", bun.List(keys))
	case pg:
		return bun.Safe("data::jsonb")
	case len(keys) > 0:
		return bun.SafeQuery("json_remove(data, ?)", bun.List(paths))
	}
	return bun.Safe("data")
}

// whereData has q select nodes whose data has value at the top-level key. Like
// Duffy 3, it compares strings and integers.
func whereData(q *bun.SelectQuery, key string, value any) *bun.SelectQuery {
	text := fmt.Sprint(value)
	if q.Dialect().Name() == dialect.PG {
		return q.Where("data ->> ? = ?", key, text)
	}
	return q.Where("CAST(json_extract(data, ?) AS TEXT) = ?", path(key), text)
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
		return q.Where("data #>> '{error,interrupted}' IS NULL")
	}
	return q.Where("json_extract(data, '$.error.interrupted') IS NULL")
}

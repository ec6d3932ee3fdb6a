package pool_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/pool"
)

// FuzzData has data of nodes be the same after it was written to a database.
func FuzzData(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, ``, `{"provision": {"ipaddr": "192.0.2.1", "id": 12345678901234567890, "x": 1.50, "y": 1e999}, "error": "no"}`, `{"a": "\u0000\ud800"}`,
		`{"a": 1, "a": 2}`, `{"nodes_spec": {"pool": "p", "quantity": 1}} trailing`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var read, again pool.Data
		if read.Scan([]byte(text)) != nil {
			return
		}
		written, err := read.Value()
		require.NoError(t, err)
		require.True(t, json.Valid([]byte(written.(string))))
		require.NoError(t, again.Scan(written))
		if read == nil { // which is written as what it stands for
			read = pool.Data{}
		}
		require.Equal(t, read, again)
	})
}

package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzReadCSV has errors name their place, and what is written be read.
func FuzzReadCSV(f *testing.F) {
	for _, file := range []string{usersCSV, userkeysCSV} {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Add("\ufeffa,'b\n''c',\"d\r\n")
	f.Add("a,b,'c")
	f.Add("a,b,c\x00\xff\n,,,")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "f.csv")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		rows, err := readCSV(file, "a", "b", "c")
		for _, row := range rows {
			require.Len(t, row.fields, 3)
			require.Positive(t, row.line)
		}
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				require.Regexp(t, `f\.csv:\d+: `, line)
			}
			return
		}
		var written strings.Builder
		w := csv.NewWriter(&written)
		for _, row := range rows {
			swapped := make([]string, len(row.fields))
			for i, field := range row.fields {
				swapped[i] = swapQuotes.Replace(field)
			}
			require.NoError(t, w.Write(swapped))
		}
		w.Flush()
		require.NoError(t, os.WriteFile(file, []byte(swapQuotes.Replace(written.String())), 0o600))
		again, err := readCSV(file, "a", "b", "c")
		require.NoError(t, err)
		require.Len(t, again, len(rows))
		for i := range rows {
			require.Equal(t, rows[i].fields, again[i].fields)
		}
	})
}

// FuzzCelery has all options be understood, named as ignored, or refused.
func FuzzCelery(f *testing.F) {
	for _, seed := range []string{
		"-B --concurrency=5 --schedule-filename x", "-c 4", "-c4", "--concurrency", "-c -1", "-c=", "--concurrency= 3", "-cx", "- -- =", "--loglevel=INFO -c 2 -c 3",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		concurrency, ignored, err := celery(args)
		if err != nil {
			require.ErrorContains(t, err, "expected how many playbooks may run at once")
			return
		}
		require.GreaterOrEqual(t, concurrency, 0)
		for _, option := range ignored {
			require.Contains(t, args, option)
		}
		if concurrency > 0 {
			got, ignored, err := celery([]string{fmt.Sprint("--concurrency=", concurrency)})
			require.NoError(t, err)
			require.Empty(t, ignored)
			require.Equal(t, concurrency, got)
		}
	})
}

package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// A csvRow knows its place.
type csvRow struct {
	file   string
	line   int
	fields []string
}

func (r csvRow) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", r.file, r.line, fmt.Errorf(format, args...))
}

// swapQuotes has encoding/csv, to which " is the quote, read files whose quote is
// the other one.
var swapQuotes = strings.NewReplacer(`'`, `"`, `"`, `'`)

// readCSV reads a file in which ' is the quote, as it is in dumps of databases. It
// returns the rows that have these columns, and what is wrong with others.
func readCSV(file string, columns ...string) (rows []csvRow, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	text := strings.TrimPrefix(string(content), "\ufeff") // which some programs put in front
	r := csv.NewReader(strings.NewReader(swapQuotes.Replace(text)))
	r.FieldsPerRecord = -1
	var errs []error
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, errors.Join(errs...)
		}
		if wrong := (*csv.ParseError)(nil); errors.As(err, &wrong) {
			row := csvRow{file: file, line: wrong.StartLine}
			errs = append(errs, row.errorf("%s", swapQuotes.Replace(wrong.Err.Error())))
			return nil, errors.Join(errs...) // nobody knows where the next row begins
		}
		row := csvRow{file: file}
		row.line, _ = r.FieldPos(0)
		for _, field := range fields {
			row.fields = append(row.fields, swapQuotes.Replace(field))
		}
		if err := row.check(columns); err != nil {
			errs = append(errs, err)
			continue
		}
		rows = append(rows, row)
	}
}

func (r csvRow) check(columns []string) error {
	switch {
	case len(r.fields) != len(columns):
		return r.errorf("expected %d columns (%s), found %d", len(columns), strings.Join(columns, ", "), len(r.fields))
	case !utf8.ValidString(strings.Join(r.fields, "")):
		return r.errorf("is not in UTF-8")
	case slices.ContainsFunc(r.fields, func(field string) bool { return strings.HasPrefix(field, `"`) }):
		return r.errorf(`is quoted by ", expected '`)
	}
	return nil
}

package clientcli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// format is how a document is printed.
type format string

// UnmarshalText implements [encoding.TextUnmarshaler], for kong.
func (f *format) UnmarshalText(text []byte) error {
	switch *f = format(strings.ToLower(string(text))); *f {
	case "json", "yaml", "flat":
		return nil
	}
	return fmt.Errorf("%q is none of json, yaml, flat", text)
}

// print writes a document of the API in the form of Duffy 3's client.
func (f format) print(w io.Writer, answer json.RawMessage) error {
	var text []byte
	var err error
	switch f {
	case "yaml":
		text, err = yamlText(answer)
	case "flat":
		text, err = flatText(answer)
	default:
		text, err = jsonText(answer)
	}
	if err != nil {
		return fmt.Errorf("printing the answer as %s: %w", f, err)
	}
	_, err = w.Write(text)
	return err
}

// jsonText keeps the order of keys and the writing of numbers.
func jsonText(answer json.RawMessage) ([]byte, error) {
	answer, err := nameFillLevel(answer)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = json.Indent(&text, bytes.TrimSpace(answer), "", "  ")
	text.WriteByte('\n')
	return text.Bytes(), err
}

// yamlText sorts keys, and ends with an empty line.
func yamlText(answer json.RawMessage) ([]byte, error) {
	answer, err := nameFillLevel(answer)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	text, err := yaml.Dump(yamlNumbers(value), yaml.WithLineWidth(80), yaml.WithUnicode(false))
	return append(text, '\n'), err
}

// yamlNumbers makes all numbers in value, which it changes, YAML's with the same
// digits: 21600.0 must not become an integer.
func yamlNumbers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key := range value {
			value[key] = yamlNumbers(value[key])
		}
	case []any:
		for i := range value {
			value[i] = yamlNumbers(value[i])
		}
	case json.Number:
		digits := strings.ToLower(value.String())
		if !strings.ContainsAny(digits, ".e") {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: digits}
		}
		if !strings.Contains(digits, ".") {
			digits = strings.Replace(digits, "e", ".0e", 1) // else text for YAML 1.1
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: digits}
	}
	return value
}

// nameFillLevel renames the fill-level of pools to fill_level, which is what the
// client of Duffy 3 calls it.
func nameFillLevel(answer json.RawMessage) (json.RawMessage, error) {
	var document map[string]json.RawMessage
	if err := json.Unmarshal(answer, &document); err != nil {
		return nil, err
	}
	if document["pool"] == nil && document["pools"] == nil {
		return answer, nil
	}
	var dense bytes.Buffer
	if err := json.Compact(&dense, answer); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(dense.Bytes(), []byte(`"fill-level":`), []byte(`"fill_level":`)), nil
}

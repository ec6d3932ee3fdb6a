package ansible

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// untrusted is a value whose strings and keys Ansible must not render: it comes from
// a node, from the result of a playbook, or from anywhere else but the configuration.
type untrusted struct{ value any }

// Tags of strings in a file of variables. Unlike the mark for untrusted text that
// Ansible knows in JSON, the one in YAML is documented, and keys can have it.
const (
	tagString = "!!str"
	tagUnsafe = "!unsafe"
	tagVault  = "!vault"
)

// vaultKey stands in JSON for a string that ansible-vault has encrypted, and that
// the result of a playbook keeps encrypted.
const vaultKey = "__ansible_vault"

// encodeVars returns a file of variables for ansible-playbook.
func encodeVars(vars map[string]any) ([]byte, error) {
	root, err := encode(vars, tagString)
	if err != nil {
		return nil, err
	}
	return yaml.Marshal(root)
}

// encode returns the YAML of a value. Its strings and keys get a tag.
func encode(value any, tag string) (*yaml.Node, error) {
	switch value := value.(type) {
	case untrusted:
		return encode(value.value, tagUnsafe)
	case map[string]any:
		if cipher, ok := value[vaultKey].(string); ok && len(value) == 1 {
			return encodeText(cipher, tagVault), nil
		}
		return encodeMap(value, tag)
	case []any:
		return encodeList(value, tag)
	case string:
		return encodeText(value, tag), nil
	case json.Number:
		return encodeNumber(value), nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(value)}, nil
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var plain any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&plain); err != nil {
		return nil, err
	}
	return encode(plain, tag)
}

func encodeMap(values map[string]any, tag string) (*yaml.Node, error) {
	node := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value, err := encode(values[key], tag)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		node.Content = append(node.Content, encodeText(key, tag), value)
	}
	return node, nil
}

func encodeList(values []any, tag string) (*yaml.Node, error) {
	node := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, value := range values {
		item, err := encode(value, tag)
		if err != nil {
			return nil, err
		}
		node.Content = append(node.Content, item)
	}
	return node, nil
}

func encodeText(text, tag string) *yaml.Node {
	style := yaml.DoubleQuotedStyle
	if tag != tagString {
		style |= yaml.TaggedStyle
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: string([]rune(text)), Style: style}
}

// encodeNumber tags numbers that Ansible's YAML would take for text: 1e5.
func encodeNumber(n json.Number) *yaml.Node {
	if strings.ContainsAny(string(n), ".eE") {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: string(n), Style: yaml.TaggedStyle}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: string(n)}
}

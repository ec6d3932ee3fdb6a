package config

import (
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Dump writes what Merged returns as YAML, in the form in which Duffy 3 dumped
// its configuration: keys sorted, nothing in flow style but what is empty.
func (f *Files) Dump(w io.Writer) error {
	dumper, err := yaml.NewDumper(w, yaml.WithIndent(2), yaml.WithCompactSeqIndent(), yaml.WithUnicode(false))
	if err != nil {
		return err
	}
	if err := dumper.Dump(f.root.node()); err != nil {
		return err
	}
	return dumper.Close()
}

// node returns v as the library has it.
func (v *value) node() *yaml.Node {
	switch {
	case v.isMapping():
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, key := range slices.Sorted(slices.Values(v.keys)) {
			n.Content = append(n.Content, stringNode(key), v.fields[key].node())
		}
		return n
	case v.isList():
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range v.list {
			n.Content = append(n.Content, item.node())
		}
		return n
	}
	switch scalar := v.scalar.(type) {
	case string:
		return stringNode(scalar)
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(scalar)}
	case int64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(scalar, 10)}
	case float64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: floatText(scalar)}
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	}
}

func stringNode(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if _, same := resolvePlain(text).(string); !same {
		n.Style = yaml.SingleQuotedStyle
	}
	return n
}

// floatText writes f such that YAML 1.1 takes it for no string or whole number.
func floatText(f float64) string {
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

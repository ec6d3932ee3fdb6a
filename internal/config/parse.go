package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const (
	// maxDepth limits how deep values may nest.
	maxDepth = 100

	// maxAliased limits how many values the aliases of a file may stand for: a
	// few lines of aliases of aliases can stand for billions.
	maxAliased = 100_000
)

var tags = []string{"!!map", "!!seq", "!!str", "!!int", "!!float", "!!bool", "!!null"}

// parseFile returns the documents of a file that are mappings with anything in
// them, those before an error too.
func parseFile(name string) ([]*value, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parse(name, content)
}

func parse(name string, content []byte) ([]*value, error) {
	limits := loaderlimits.New(loaderlimits.DepthValue(maxDepth))
	loader, err := yaml.NewLoader(bytes.NewReader(content), yaml.WithPlugin(limits))
	if err != nil {
		return nil, err
	}
	p := &parser{file: name, open: map[*yaml.Node]bool{}}
	var docs []*value
	for {
		var node yaml.Node
		err := loader.Load(&node)
		if errors.Is(err, io.EOF) {
			return docs, errors.Join(p.errs...)
		}
		if err != nil {
			p.errs = append(p.errs, p.syntaxError(err))
			return docs, errors.Join(p.errs...)
		}
		if len(node.Content) == 0 {
			continue
		}
		doc := p.value(node.Content[0], nil)
		switch {
		case doc.isMapping():
			docs = append(docs, doc)
		case !doc.isNull():
			p.fail(node.Content[0], nil, fmt.Errorf("expected a mapping with sections like app and nodepools, found %s", doc.kind()))
		}
	}
}

type parser struct {
	file    string
	errs    []error
	open    map[*yaml.Node]bool // the aliases that are being followed
	aliased int
}

func (p *parser) place(n *yaml.Node) place { return place{p.file, n.Line} }

func (p *parser) fail(n *yaml.Node, path []string, err error) {
	p.errs = append(p.errs, &Error{p.place(n).String(), path, err})
}

func (p *parser) syntaxError(err error) error {
	var failed *yaml.LoadError
	if !errors.As(err, &failed) {
		return &Error{Place: p.file, Err: err}
	}
	where, message := p.file, failed.Message
	if failed.Mark.Line > 0 {
		where = place{p.file, failed.Mark.Line}.String()
	}
	if failed.Stage == yaml.ComposerStage {
		// The library repeats the name, which may be an unquoted password.
		message = "unknown anchor after *, if this is no alias put it in quotes"
	}
	return &Error{Place: where, Err: errors.New(message)}
}

func (p *parser) value(n *yaml.Node, path []string) *value {
	if len(p.open) > 0 {
		p.aliased++
	}
	if n.Style&yaml.TaggedStyle != 0 && !slices.Contains(tags, n.ShortTag()) {
		p.fail(n, path, errors.New("unknown tag after !, if this is no tag put it in quotes"))
	}
	switch n.Kind {
	case yaml.AliasNode:
		return p.alias(n, path)
	case yaml.MappingNode:
		return p.mapping(n, path)
	case yaml.SequenceNode:
		list := &value{at: p.place(n), list: []*value{}}
		for i, item := range n.Content {
			list.list = append(list.list, p.value(item, below(path, fmt.Sprint(i))))
		}
		return list
	default:
		return &value{at: p.place(n), scalar: resolve(n)}
	}
}

// alias returns the value that an alias stands for, with a place of its own.
func (p *parser) alias(n *yaml.Node, path []string) *value {
	switch {
	case p.open[n.Alias]:
		p.fail(n, path, errors.New("the alias is part of what it stands for"))
		return &value{}
	case p.aliased > maxAliased:
		return &value{}
	}
	p.open[n.Alias] = true
	v := p.value(n.Alias, path)
	delete(p.open, n.Alias)
	v.at = p.place(n)
	if len(p.open) == 0 && p.aliased > maxAliased {
		p.fail(n, path, errors.New("aliases of aliases stand for too much"))
	}
	return v
}

func (p *parser) mapping(n *yaml.Node, path []string) *value {
	m := newMapping(p.place(n))
	for i := 0; i < len(n.Content); i += 2 {
		if isMergeKey(n.Content[i]) {
			p.mergeKey(m, n.Content[i+1], path)
		}
	}
	lines := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		if isMergeKey(n.Content[i]) {
			continue
		}
		key, ok := p.key(n.Content[i], path)
		if !ok {
			continue
		}
		line, twice := lines[key]
		if twice {
			p.fail(n.Content[i], below(path, key), fmt.Errorf("is set twice, first in line %d", line))
		}
		lines[key] = n.Content[i].Line
		field := p.value(n.Content[i+1], below(path, key))
		field.at = p.place(n.Content[i])
		m.set(key, field)
	}
	return m
}

func isMergeKey(n *yaml.Node) bool { return n.Tag == "!!merge" }

// mergeKey gives m the fields of the mapping n, or of each in the list n.
func (p *parser) mergeKey(m *value, n *yaml.Node, path []string) {
	v := p.value(n, path)
	sources := v.list
	if !v.isList() {
		sources = []*value{v}
	}
	for _, source := range sources {
		if !source.isMapping() {
			p.fail(n, path, fmt.Errorf("expected a mapping, or a list of them, after <<, found %s", source.kind()))
		}
		for _, key := range source.keys {
			if m.fields[key] == nil {
				m.set(key, source.fields[key])
			}
		}
	}
}

// key returns a key as it is written: 8 and yes are "8" and "yes".
func (p *parser) key(n *yaml.Node, path []string) (string, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		p.fail(n, path, errors.New("expected a name as key"))
		return "", false
	}
	return n.Value, true
}

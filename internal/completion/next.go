package completion

import (
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// next returns the words that can take the place of the last one of a line, or of
// what follows = in it. Names of files and the like are not among them.
func next(app *kong.Application, line string) []string {
	words := strings.Fields(line)
	if strings.TrimRight(line, " \t\n") != line {
		words = append(words, "")
	}
	if len(words) < 2 { // the program's own name
		return nil
	}
	done, typed := words[1:len(words)-1], words[len(words)-1]
	at := position{node: app.Node}
	for _, word := range done {
		at.advance(word)
	}
	if name, value, ok := strings.Cut(typed, "="); ok && at.awaited == nil {
		at.awaited, typed = at.flag(name), value
	}
	candidates := slices.DeleteFunc(at.candidates(typed), func(word string) bool {
		return !strings.HasPrefix(word, typed)
	})
	slices.Sort(candidates)
	return candidates
}

// A position is how far words have led into the grammar of a program.
type position struct {
	node    *kong.Node // the last command that was named
	args    int        // how many arguments of it there are
	awaited *kong.Flag // the flag whose value is the next word, nil if it is none
	noFlags bool       // since -- or a command that does not look at its flags itself
}

// advance takes the next word, whether it makes sense or not.
func (p *position) advance(word string) {
	switch {
	case p.awaited != nil:
		p.awaited = nil
	case word == "--":
		p.noFlags = true
	case !p.noFlags && strings.HasPrefix(word, "-"):
		if flag := p.flag(word); flag != nil && !flag.IsBool() && !flag.IsCounter() {
			p.awaited = flag
		}
	default:
		if command := p.command(word); command != nil {
			*p = position{node: command, noFlags: command.Passthrough}
		} else {
			p.args++
		}
	}
}

// candidates returns what can stand at p, whatever has been typed of it, but flags
// only where one has been begun.
func (p *position) candidates(typed string) (words []string) {
	switch {
	case p.awaited != nil:
		return enum(p.awaited.Value)
	case strings.HasPrefix(typed, "-"):
		if p.noFlags {
			return nil
		}
		for _, flag := range p.flags(true) {
			words = append(words, names(flag)...)
		}
		return words
	}
	for _, command := range p.node.Children {
		if !command.Hidden {
			words = append(words, command.Name)
		}
	}
	if p.args < len(p.node.Positional) {
		words = append(words, enum(p.node.Positional[p.args])...)
	}
	return words
}

// command returns the command below the present one that is called name, or nil.
func (p *position) command(name string) *kong.Node {
	for _, command := range p.node.Children {
		if command.Name == name || slices.Contains(command.Aliases, name) {
			return command
		}
	}
	return nil
}

// flag returns the flag that is called name, with its hyphens, or nil.
func (p *position) flag(name string) *kong.Flag {
	for _, flag := range p.flags(false) {
		if slices.Contains(names(flag), name) {
			return flag
		}
	}
	return nil
}

// flags returns those of the command and of the ones above it.
func (p *position) flags(withoutHidden bool) []*kong.Flag {
	return slices.Concat(p.node.AllFlags(withoutHidden)...)
}

// names returns all names of a flag, with their hyphens.
func names(flag *kong.Flag) []string {
	names := []string{"--" + flag.Name}
	if flag.Short != 0 {
		names = append(names, "-"+string(flag.Short))
	}
	for _, alias := range flag.Aliases {
		names = append(names, "--"+alias)
	}
	return names
}

// enum returns the values that v may have, nil if they are not told.
func enum(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return slices.Collect(maps.Keys(v.EnumMap()))
}

package completion

import (
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

type grammar struct {
	Level  string `short:"l" enum:"debug,info" default:"info"`
	Quiet  bool   `short:"q"`
	Secret string `hidden:""`

	Admin struct {
		Add struct {
			Quota int    `aliases:"limit"`
			Name  string `arg:""`
			Kind  string `arg:"" enum:"big,small"`
		} `cmd:"" aliases:"new"`
		Remove struct{} `cmd:""`
	} `cmd:""`
	Work struct {
		Args []string `arg:"" optional:""`
	} `cmd:"" passthrough:""`
	Old struct{} `cmd:"" hidden:""`
}

func TestNext(t *testing.T) {
	t.Parallel()
	parser := kong.Must(&grammar{}, kong.Name("duffy"))
	for line, want := range map[string][]string{
		"":                                 nil,
		"duf":                              nil,
		"duffy ":                           {"admin", "work"},
		"duffy a":                          {"admin"},
		"duffy unknown":                    nil,
		"duffy -":                          {"--help", "--level", "--quiet", "-h", "-l", "-q"},
		"duffy --":                         {"--help", "--level", "--quiet"},
		"duffy -q ad":                      {"admin"},
		"duffy --level ":                   {"debug", "info"},
		"duffy -l d":                       {"debug"},
		"duffy --level=":                   {"debug", "info"},
		"duffy --level=i":                  {"info"},
		"duffy --unknown=i":                nil,
		"duffy --secret ":                  nil,
		"duffy --secret admin ":            {"admin", "work"},
		"duffy -l admin a":                 {"admin"},
		"duffy --level=debug admin ":       {"add", "remove"},
		"duffy admin add --":               {"--help", "--level", "--limit", "--quiet", "--quota"},
		"duffy admin new --li":             {"--limit"},
		"duffy admin add --limit ":         nil,
		"duffy admin add ":                 nil,
		"duffy admin add admin ":           {"big", "small"},
		"duffy admin add --quota 5 ci b":   {"big"},
		"duffy admin add ci big ":          nil,
		"duffy admin add -- -ci s":         {"small"},
		"duffy admin add -- --q":           nil,
		"duffy work --":                    nil,
		"duffy -c 'two words' admin rem":   {"remove"},
		"duffy  admin\tremove --level  in": {"info"},
	} {
		require.Equal(t, want, nonEmpty(next(parser.Model, line)), "%q", line)
	}
}

func nonEmpty(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	return words
}

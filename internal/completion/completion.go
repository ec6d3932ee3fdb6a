// Package completion has shells complete the commands and flags of a program.
package completion

import (
	"fmt"
	"os"
	"strconv"

	"github.com/alecthomas/kong"
)

// Command is a kong command that prints a script for a shell. The script runs
// the program, as it is found by its name, whenever there is something to complete.
type Command struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Which shell: bash, zsh or fish."`
}

// Run implements kong's hook of that name.
func (c *Command) Run(k *kong.Context) error {
	_, err := fmt.Fprintf(k.Stdout, scripts[c.Shell], k.Model.Name)
	return err
}

// Answer is what a program calls before it parses its arguments. If it was run by
// one of the scripts it prints what can come next, one word a line, and exits.
func Answer(parser *kong.Kong) {
	line := os.Getenv("COMP_LINE") // by which the scripts say what has been typed
	if line == "" {
		return
	}
	// Where the cursor is. fish says nothing of it, and means the end.
	if point, err := strconv.Atoi(os.Getenv("COMP_POINT")); err == nil && point >= 0 && point < len(line) {
		line = line[:point]
	}
	for _, word := range next(parser.Model, line) {
		fmt.Fprintln(parser.Stdout, word)
	}
	parser.Exit(0)
}

// scripts have the shell complete names of files where the program knows nothing.
var scripts = map[string]string{
	"bash": `# In ~/.bashrc: source <(%[1]s completion bash)
complete -o default -C %[1]s %[1]s
`,
	"zsh": `# In ~/.zshrc, after compinit: source <(%[1]s completion zsh)
autoload -U +X bashcompinit && bashcompinit
complete -o default -C %[1]s %[1]s
`,
	"fish": `# In ~/.config/fish/config.fish: %[1]s completion fish | source
function __%[1]s_complete
    set -lx COMP_LINE (commandline -cp)
    %[1]s
end
complete -c %[1]s -f -n '__%[1]s_complete | string length -q' -a '(__%[1]s_complete)'
`,
}

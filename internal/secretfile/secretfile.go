// Package secretfile reads secrets out of files, and tells whether files are safe
// from other users of the machine.
package secretfile

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Stdin is the name that stands for standard input.
const Stdin = "-"

// most is how long a secret may be, in bytes: SSH keys of many users are a few
// thousand.
const most = 1 << 20

// Read returns the secret in the file called name, or in stdin if that is [Stdin],
// without the white space around it. It fails if there is none. Errors never repeat it.
func Read(name string, stdin io.Reader) (string, error) {
	if name == Stdin {
		return read("standard input", stdin)
	}
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return read(name, file)
}

func read(name string, r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	secret := strings.TrimSpace(string(text))
	switch {
	case len(text) > most:
		return "", fmt.Errorf("%s: longer than %d bytes", name, most)
	case secret == "":
		return "", fmt.Errorf("%s: there is nothing in it", name)
	}
	return secret, nil
}

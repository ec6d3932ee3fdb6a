package ansible

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// environ returns the environment of a playbook whose run has dir for itself.
func (b *Backend) environ(dir string) []string {
	env := map[string]string{
		"ANSIBLE_CALLBACK_PLUGINS":  "~/.ansible/plugins/callback:/usr/share/ansible/plugins/callback",
		"ANSIBLE_HOST_KEY_CHECKING": "False",
		"ANSIBLE_STDOUT_CALLBACK":   "default",
	}
	for _, variable := range append(os.Environ(), b.environment...) {
		key, value, _ := strings.Cut(variable, "=")
		env[key] = value
	}
	delete(env, "PWD") // it is Duffy's
	env["ANSIBLE_CACHE_PLUGIN"] = "memory"
	env["ANSIBLE_CALLBACK_PLUGINS"] += ":" + filepath.Join(dir, callbackDir)
	env["ANSIBLE_FORCE_COLOR"] = "False"
	env["ANSIBLE_LOCAL_TEMP"] = filepath.Join(dir, tempDir)
	env["ANSIBLE_NOCOLOR"] = "True"
	env["ANSIBLE_RETRY_FILES_ENABLED"] = "False"
	env["DUFFY_ALIVE"] = filepath.Join(dir, aliveFile)
	env["DUFFY_EVENTS"] = filepath.Join(dir, eventsFile)
	if !usable(env["HOME"]) {
		env["HOME"] = filepath.Join(dir, homeDir)
	}
	variables := make([]string, 0, len(env))
	for key, value := range env {
		variables = append(variables, key+"="+value)
	}
	return variables
}

// usable tells whether Ansible finds something in a home directory, or can put
// its temporary files there.
func usable(home string) bool {
	if home == "" {
		return false
	}
	if _, err := os.Stat(filepath.Join(home, ".ansible")); err == nil {
		return true
	}
	return unix.Access(home, unix.W_OK) == nil
}

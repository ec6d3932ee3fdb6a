package main

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// hostileText does harm to a terminal, to whoever reads a log, and to what renders
// templates or runs shells: that makes a file. Its first word is looked for.
func hostileText(dir, source string) string {
	made := filepath.Join(dir, source)
	return source + "-says \x1b]0;x\x07\x1b[2J\u009b5m\u202e\u2066 {{ lookup('pipe', 'touch " + made + "-template') }} $(touch " + made +
		"-shell)`touch " + made + "-shell` '; DROP TABLE nodes; -- \"\nlevel=INFO msg=forged-by-" + source
}

// requireHarmless sees that nothing in what a program printed is obeyed by terminals,
// and that no line of it was made by somebody else.
func requireHarmless(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		require.True(t, r == '\n' || r == '\t' || unicode.IsPrint(r), "%q in %s", r, text)
	}
	require.NotContains(t, text, "\nlevel=INFO msg=forged")
}

// disconnectBeforeLogin answers SSH clients with a message of disconnection.
func disconnectBeforeLogin(conn net.Conn, text string) {
	defer conn.Close()
	payload := append([]byte{1, 0, 0, 0, 2}, sshString(text)...) // SSH_MSG_DISCONNECT, protocol error
	payload = append(payload, sshString("")...)
	padding := 8 - (5+len(payload))%8
	if padding < 4 {
		padding += 8
	}
	packet := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	packet = append(append(packet, byte(padding)), payload...)
	_, _ = conn.Write([]byte("SSH-2.0-x\r\n"))
	_, _ = conn.Write(append(packet, make([]byte, padding)...))
	_, _ = io.Copy(io.Discard, conn)
}

func sshString(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

const hostileProvision = `
- hosts: localhost
  gather_facts: false
  tasks:
  - set_fact: {words: "{{ lookup('file', text) }}", id: "{{ duffy_in.nodes[0].id }}"}
  - fail: {msg: "{{ words }}"}
    when: ssh_port | int == 0
  - set_fact: {duffy_out: {nodes: [{ipaddr: "127.83.{{ net }}.{{ id }}", ssh_port: "{{ ssh_port }}", hostname: "{{ id }} {{ words }}", about: {list: ["{{ words }}"]}}]}}
`

// hostileDeprovision uses all that it is told, as playbooks do.
const hostileDeprovision = `
- hosts: localhost
  gather_facts: false
  tasks:
  - debug: {msg: "{{ duffy_in }} {{ name_of_node }}"}
  - debug: {msg: "{{ item.hostname }} {{ item.data }}"}
    loop: "{{ duffy_in.nodes }}"
  - debug: {msg: "{{ item }}"}
    with_dict: "{{ duffy_in.nodes[0].data.provision }}"
  - command: {argv: [echo, "{{ duffy_in.nodes[0].hostname }}"]}
  - shell: "echo {{ duffy_in.nodes[0].hostname | quote }} {{ duffy_in | to_json | quote }}"
  - copy: {dest: "{{ playbook_dir }}/gone-{{ pool_name }}", content: "{{ duffy_in | to_json }}"}
  - set_fact: {duffy_out: {nodes: "{{ duffy_in.nodes | map(attribute='data.provision') | list }}"}}
`

// TestHostileText has nodes, playbooks and clients say hostile things, and looks at
// all places where their words go: the log, the database, the API, commands,
// playbooks and shells.
func TestHostileText(t *testing.T) {
	t.Parallel()
	need(t, installed("ansible-playbook"), "ansible-playbook")
	need(t, installed("sqlite3"), "sqlite3")
	dir, made := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("provision.yml", hostileProvision)
	write("deprovision.yml", hostileDeprovision)
	for _, source := range []string{"playbook", "result1", "result2"} {
		write(source, hostileText(made, source))
	}
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	key, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	write("id", string(pem.EncodeToMemory(key)))
	refusing := listenEverywhere(t, func(c net.Conn) { disconnectBeforeLogin(c, hostileText(made, "disconnect")) })
	server := openServer(t)
	talking := listenEverywhere(t, func(c net.Conn) {
		attend(c, server, func(_ string, command ssh.Channel) (status uint32) {
			_, _ = io.WriteString(command.Stderr(), hostileText(made, "output"))
			return 1
		})
	})

	port := freePort(t)
	pool := `
    %s:
      fill-level: 1
      mechanism:
        type: ansible
        ansible:
          topdir: ` + dir + `
          extra-vars: {pool_name: "{{ name }}", name_of_node: "{{ duffy_in.nodes[0].hostname }}", net: %d, ssh_port: %d, text: %s}
          provision: {playbook: provision.yml}
          deprovision: {playbook: deprovision.yml}`
	file := writeConfig(t, "app: {port: %d}\nclient: {url: 'http://127.0.0.1:%[1]d/api/v1', auth: {name: tenant, key: %[3]s}}\n"+
		"ssh: {key-files: [%[2]s/id]}\ndatabase: {url: 'sqlite:///%[2]s/duffy.sqlite'}\nnodepools:\n  concrete:%[4]s\n", port, dir, testKey("tenant"),
		fmt.Sprintf(pool, "refuses", 1, refusing, "result1")+
			fmt.Sprintf(pool, "talks", 2, talking, "result2")+
			fmt.Sprintf(pool, "fails", 3, 0, "playbook"))
	var out, errs strings.Builder
	require.Zero(t, run(t.Context(), []string{"-c", file, "setup-db", "--test-data"}, &out, &errs), errs.String())
	service := startServing(t, "-l", "trace", "-c", file, "run")
	rest := fmt.Sprintf("http://127.0.0.1:%d/api/v1", port)
	askUntil(t, fmt.Sprintf("http://127.0.0.1:%d/readyz", port))

	// Nodes and results of playbooks.
	for _, name := range []string{"refuses", "talks"} {
		require.Eventually(t, func() bool {
			return strings.Contains(askUntil(t, rest+"/pools/"+name), `"ready":1`)
		}, patience, glance, "%s", &service.stderr)
		status, body := hostileAsk(t, "POST", rest+"/sessions", `{"nodes_specs": [{"quantity": 1, "pool": "`+name+`"}]}`)
		require.Equal(t, http.StatusServiceUnavailable, status, body)
		require.Eventually(t, func() bool {
			_, err := os.Stat(filepath.Join(dir, "gone-"+name))
			return err == nil
		}, patience, glance, "%s", &service.stderr)
	}
	// Playbooks that fail.
	require.Eventually(t, func() bool { return strings.Contains(service.stderr.String(), "playbook-says") }, patience, glance)

	// Clients.
	words := hostileText(made, "client")
	encoded, err := json.Marshal(words)
	require.NoError(t, err)
	for path, body := range map[string]string{
		"/sessions": `{"nodes_specs": [{"quantity": 1, "pool": ` + string(encoded) + `}]}`,
		"/tenants":  `{"name": ` + string(encoded) + `, "ssh_key": "ssh-rsa AAAA"}`,
	} {
		status, answer := hostileAsk(t, "POST", rest+path, body)
		require.Equal(t, http.StatusUnprocessableEntity, status, answer)
		require.True(t, json.Valid([]byte(answer)), answer)
	}

	// Duffy 3, which took any name.
	insert := fmt.Sprintf("INSERT INTO tenants (name, is_admin, ssh_key, api_key, created_at) "+
		"SELECT CAST(x'%x' AS TEXT), 0, ssh_key, api_key, created_at FROM tenants LIMIT 1", hostileText(made, "duffy3"))
	output, err := exec.CommandContext(t.Context(), "sqlite3", filepath.Join(dir, "duffy.sqlite"), ".timeout 10000", insert).CombinedOutput()
	require.NoError(t, err, "%s", output)

	// What people see.
	for _, command := range [][]string{
		{"admin", "list-failed-nodes"},
		{"admin", "list-tenants"},
		{"client", "list-sessions"},
		{"client", "--format", "flat", "list-pools"},
		{"client", "--format", "yaml", "show-pool", "talks"},
	} {
		code, stdout, stderr := runProgram(t, dir, append([]string{"-c", file}, command...)...)
		require.Zero(t, code, stderr)
		requireHarmless(t, stdout+stderr)
		switch command[1] {
		case "list-failed-nodes":
			require.Contains(t, stdout, "playbook-says")
		case "list-tenants":
			require.Contains(t, stdout, "duffy3-says")
		}
	}
	_, nodes := hostileAsk(t, "GET", rest+"/nodes", "")
	var listed struct {
		Nodes []struct {
			Hostname *string
			Data     struct{ Error struct{ Detail string } }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(nodes), &listed))
	for _, n := range listed.Nodes {
		requireHarmless(t, n.Data.Error.Detail)
		if n.Hostname != nil {
			requireHarmless(t, *n.Hostname)
		}
	}
	service.stop()
	service.requireStopped(t)
	requireHarmless(t, service.stdout.String()+service.stderr.String())
	for _, source := range []string{"disconnect", "output", "playbook", "result1"} {
		require.Contains(t, service.stderr.String(), source+"-says")
	}
	told, err := os.ReadFile(filepath.Join(dir, "gone-refuses"))
	require.NoError(t, err)
	require.Contains(t, string(told), "result1-says")
	require.NotContains(t, string(told), "disconnect-says")
	ran, err := filepath.Glob(filepath.Join(made, "*"))
	require.NoError(t, err)
	require.Empty(t, ran, "these were run")
}

// hostileAsk asks the API as an administrator who calls itself strange names.
func hostileAsk(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url+"?%1b%5d0;x%07=%7B%7B7*7%7D%7D", strings.NewReader(body))
	require.NoError(t, err)
	req.SetBasicAuth("admin", testKey("admin"))
	req.Header.Set("User-Agent", "\u009b5m\u202e {{ 7 * 7 }}")
	req.Header.Set("X-Request-Id", "\u202e{{ 7 * 7 }}")
	req.Header.Set("X-Forwarded-For", "\u202e, {{ 7 * 7 }}")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(text)
}

package ssh

import (
	"testing"

	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
)

// FuzzTarget has playbooks tell anything of how a node is reached. A key that is
// found is one that a host can show.
func FuzzTarget(f *testing.F) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMklWy7vRlPsDkYXRVNv/7bZ2eXfBYT+KKUFSBYBT1Sb"
	f.Add("192.0.2.1", "root", "22", key)
	f.Add("node.example.net", "", "0", "node.example.net,192.0.2.1 "+key+" comment\n# more\n@cert-authority * "+key)
	f.Add("::1", "\x00", "65536", "|1|abc= "+key[:30])
	f.Add("", "core", " 2222 ", "")
	f.Fuzz(func(t *testing.T, address, user, port, hostKey string) {
		c := &Contextualizer{config: Config{User: "root", Port: 22, HostKeys: backend.PinnedHostKeys}}
		for _, keys := range []any{hostKey, []any{hostKey, 5, nil}, []string{hostKey}} {
			to, err := c.target(backend.Node{IPAddr: address, Provision: map[string]any{
				"ssh_user": user, "ssh_port": port, "ssh_host_key": keys,
			}})
			if err != nil {
				continue
			}
			require.NotEmpty(t, to.user)
			require.NotEmpty(t, to.host.accept)
			for _, key := range to.host.accept {
				check := hostCheck{accept: to.host.accept}
				require.NoError(t, check.check(key))
				again, err := gossh.ParsePublicKey(key.Marshal())
				require.NoError(t, err)
				require.NoError(t, check.check(again))
			}
		}
	})
}

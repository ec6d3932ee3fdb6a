package ansible_test

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ansible"
	"github.com/duffy-ci/duffy/backend/backendtest"
)

func TestExample(t *testing.T) {
	dir, _ := filepath.Abs("../../examples/playbooks/playbooks")
	p := pool(dir)
	p.Settings["extra-vars"] = map[string]any{"state_dir": t.TempDir() + "/s", "bridge": "dx1", "network": "10.99", "service_key_file": "/tmp/ex/key.pub"}
	backendtest.Run(t, func(t *testing.T) backendtest.Subject {
		return backendtest.Subject{
			Backend: ansible.New(ansible.Config{}), Pool: p,
			Running: func(_ *testing.T, node backend.Node) bool {
				c, err := net.DialTimeout("tcp", node.IPAddr+":22", 2*time.Second)
				if err != nil {
					return false
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(2*time.Second))
				b := make([]byte, 3)
				c.Read(b)
				return string(b) == "SSH"
			},
		}
	})
}

package redistest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const patience = time.Minute

// A Watched is a master with a replica, and a sentinel that has the replica take
// its place when it goes away.
type Watched struct {
	Master *Server // until it is stopped
	URL    string  // of the sentinel
}

// NewWatched returns servers that run until the test ends.
func NewWatched(t testing.TB) Watched {
	t.Helper()
	ports := freePorts(t, 3)
	master := newTCP(t, ports[0])
	master.Start(t)
	replica := newTCP(t, ports[1], fmt.Sprint("replicaof 127.0.0.1 ", ports[0]))
	replica.Start(t)
	awaitInfo(t, replica, "INFO replication", "master_link_status:up")
	sentinel := newTCP(t, ports[2],
		fmt.Sprintf("sentinel monitor duffy 127.0.0.1 %d 1", ports[0]),
		"sentinel down-after-milliseconds duffy 500", "sentinel failover-timeout duffy 3000")
	sentinel.Start(t)
	awaitInfo(t, sentinel, "INFO sentinel", "slaves=1")
	return Watched{master, fmt.Sprintf("redis-sentinel://127.0.0.1:%d,127.0.0.1:%d?master=duffy", freePorts(t, 1)[0], ports[2])}
}

// ClusterURL returns the URL of a cluster of three masters that runs until the test
// ends, and is its alone.
func ClusterURL(t testing.TB) string {
	t.Helper()
	const slots, masters = 16384, 3
	ports := freePorts(t, 2*masters)
	var nodes []*Server
	var hosts []string
	for i := range masters {
		port, bus := ports[2*i], ports[2*i+1]
		node := newTCP(t, port, "cluster-enabled yes", fmt.Sprint("cluster-port ", bus), "cluster-node-timeout 5000")
		node.Start(t)
		node.Do(t, fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", slots*i/masters, slots*(i+1)/masters-1))
		if i > 0 {
			node.Do(t, fmt.Sprintf("CLUSTER MEET 127.0.0.1 %d %d", ports[0], ports[1]))
		}
		nodes = append(nodes, node)
		hosts = append(hosts, fmt.Sprint("127.0.0.1:", port))
	}
	for _, node := range nodes {
		awaitInfo(t, node, "CLUSTER INFO", "cluster_state:ok")
		awaitInfo(t, node, "CLUSTER INFO", fmt.Sprint("cluster_known_nodes:", masters))
	}
	return "redis-cluster://" + strings.Join(hosts, ",")
}

func newTCP(t testing.TB, port int, config ...string) *Server {
	t.Helper()
	return newFor(t, append([]string{"bind 127.0.0.1", fmt.Sprint("port ", port)}, config...)...)
}

// awaitInfo waits until the answer to a command contains a text.
func awaitInfo(t testing.TB, s *Server, command, text string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		answer, err := s.ask(t.Context(), command)
		require.NoError(c, err)
		require.Contains(c, answer, text)
	}, patience, 20*time.Millisecond)
}

// freePorts returns ports that were free a moment ago.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports
}

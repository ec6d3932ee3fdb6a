package config

import (
	"net/netip"
	"time"
)

// A Config is what configuration files say, with Duffy's defaults where they do
// not. What has no default is empty or zero then; nothing is required.
type Config struct {
	Client     Client
	App        App
	Metaclient Metaclient
	Tasks      Tasks
	Database   Database
	Defaults   Defaults
	SSH        SSH
	Ansible    Ansible
}

// Client is for the commands that use a server.
type Client struct {
	URL      string // of the API, with /api/v1
	AuthName string
	AuthKey  string

	AuthKeyFile string // that has the key in it; at most one of the two is set
}

// App is the REST API's server.
type App struct {
	LogLevel string // trace, debug, info, warning, error or critical
	Host     string // to listen on
	Port     int

	AnonymousRead AnonymousRead // what callers without credentials see

	// TrustedProxies are believed what X-Forwarded-For says. Nil if nothing is said
	// of them.
	TrustedProxies []netip.Prefix

	TLS TLS

	// ShutdownDelay is how long to go on serving after /readyz says not to.
	ShutdownDelay time.Duration

	Metrics Listen // for /metrics, apart from the API

	Limits Limits
}

// Limits are how much of a server anybody has. Zero leaves it to the server.
type Limits struct {
	Connections           int // in all, but for those of proxies, which have as many
	ConnectionsPerAddress int
	Requests              int // in progress at once, of a tenant, or of an address without a login
}

// AnonymousRead is how much callers without credentials see.
type AnonymousRead string

// The values of AnonymousRead. In files, true stands for limited.
const (
	AnonymousLimited AnonymousRead = "limited" // no data of nodes and no limits of tenants
	AnonymousFull    AnonymousRead = "full"    // as much as Duffy 3 showed
	AnonymousNone    AnonymousRead = "false"   // nothing
)

// Listen is where to listen in addition. Nobody does if Port is zero.
type Listen struct {
	Host string // empty is this machine alone
	Port int
}

// TLS is the certificate of a server, which speaks plain HTTP if it is empty.
// Either both files are named or none.
type TLS struct {
	Certificate string // file, with the chain below it
	Key         string // file
}

// Metaclient is the server of the legacy API. Its templates and regular
// expressions are checked by package legacy.
type Metaclient struct {
	LogLevel string // trace, debug, info, warning, error or critical
	Host     string // to listen on
	Port     int

	TLS TLS

	Dest    string            // URL of the server whose API to use
	Usermap map[string]string // from API keys to names of tenants
	Poolmap []PoolMapping     // the first that matches decides

	// MangleHostname is a Jinja2 template that makes the hostname that clients
	// see of the variable hostname. Empty means the hostname as it is.
	MangleHostname string

	ErrorsV2     bool // errors as clients' retry options expect them
	SSIDAsString bool
}

// A PoolMapping selects a pool by the parameters of a legacy request. Ver, Arch
// and Flavor are what the parameter must be, or a regular expression if they
// begin with ^ and end with $, or empty if it does not matter.
type PoolMapping struct {
	Pool              string // a Jinja2 template with the variables ver, arch, flavor
	Ver, Arch, Flavor string
}

// Queues that Tasks can name.
const (
	QueueRiver = "river"
	QueueAsynq = "asynq"
)

// Tasks is the background work. Zero numbers and durations leave it to the
// queue and the services how many, how often and how long.
type Tasks struct {
	Queue string // QueueRiver or QueueAsynq
	Redis string // URL, for QueueAsynq

	Workers         int           // how many short jobs a process runs at once
	LongWorkers     int           // how many that provision or deprovision
	ShutdownTimeout time.Duration // how long running jobs may go on when asked to stop

	FillPools      time.Duration // between two looks whether pools are full
	ExpireSessions time.Duration // between two looks for expired sessions

	Metrics Listen // for a worker's /metrics
}

// Database is where Duffy keeps its state.
type Database struct {
	// URL is database.url or else SQLAlchemy's sync_url or else its async_url,
	// as it is written there.
	URL string
}

// Defaults are the limits of tenants that have none of their own.
type Defaults struct {
	SessionLifetime    time.Duration
	SessionLifetimeMax time.Duration
	NodeQuota          int // in active sessions
	SessionQuota       int // active sessions, zero leaves it to package tenant
}

// SSH is how nodes are reached to let tenants in. What is empty or zero is up to
// the contextualizer.
type SSH struct {
	User     string
	Port     int
	KeyFiles []string // of private keys
	Agent    string   // the socket of an ssh-agent

	HostKeys string // "any", "first-use" or "pinned"

	AuthorizedKeys string // where they are on nodes, as in sshd_config
	ProxyJump      string // hosts on the way to nodes, as for ssh

	KexAlgorithms, Ciphers, MACs string // as in ssh_config

	ConnectTimeout time.Duration
	CommandTimeout time.Duration
}

// Ansible is what the ansible backend does for all pools.
type Ansible struct {
	Concurrency int // how many playbooks run at once, zero leaves it to the backend
}

func defaults() Config {
	return Config{
		App:        App{LogLevel: "info", Host: "127.0.0.1", Port: 8080, AnonymousRead: AnonymousLimited},
		Metaclient: Metaclient{LogLevel: "info", Host: "127.0.0.1", Port: 9090, Dest: "http://127.0.0.1:8080"},
		Tasks:      Tasks{Queue: QueueRiver},
		Defaults:   Defaults{SessionLifetime: 6 * time.Hour, SessionLifetimeMax: 12 * time.Hour, NodeQuota: 10},
	}
}

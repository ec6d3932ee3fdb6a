package db

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// A location is a database URL taken apart.
type location struct {
	dialect  string // postgresql or sqlite
	user     string
	password string
	host     string
	port     string
	database string
	options  url.Values
}

// urlForm is what SQLAlchemy takes for a database URL. It allows more than
// net/url does, for example a password with a "#" in it.
var urlForm = regexp.MustCompile(`^(\w+)(?:\+\w+)?://` +
	`(?:([^:/]*)(?::([^@]*))?@)?` + // user, password
	`(?:(?:\[([^/?,]+)\]|([^/:?,]+))?(?::([^/?,]*))?|([^/?]*,[^/?]*))?` + // IPv6 host, other host, port; several
	`(?:/([^?]*))?(?:\?(.*))?$`) // database, options

// parseURL takes a URL apart. Its errors quote only what cannot be a password.
func parseURL(raw string) (location, error) {
	if strings.TrimSpace(raw) == "" {
		return location{}, errors.New("it is empty")
	}
	m := urlForm.FindStringSubmatch(strings.TrimSpace(raw))
	if m == nil {
		return location{}, errors.New("it is not of the form postgresql://user:password@host/database or sqlite:///file")
	}
	loc := location{
		dialect:  m[1],
		user:     unescape(m[2]),
		password: unescape(m[3]),
		host:     m[4] + m[5] + m[7],
		port:     m[6],
		database: m[8],
	}
	// The part that can be parsed is used; SQLAlchemy does not mind the rest.
	loc.options, _ = url.ParseQuery(m[9])
	switch loc.dialect {
	case "postgresql":
	case "postgres":
		loc.dialect = "postgresql"
	case "sqlite":
		return loc, loc.checkSQLite()
	default:
		return location{}, fmt.Errorf("%q databases are not supported, only postgresql and sqlite", loc.dialect)
	}
	return loc, loc.checkPostgres()
}

func (l location) checkPostgres() error {
	if strings.Contains(l.host, "@") {
		return errors.New(`an "@" in the user name or password must be written as %40`)
	}
	for _, h := range l.hosts() {
		if _, err := strconv.ParseUint(h.port, 10, 16); h.port != "" && err != nil {
			return errors.New("the port is not a number from 0 to 65535")
		}
	}
	return nil
}

// A host is a server of PostgreSQL, by its name, its address or the directory of its
// socket. An empty port is the default one.
type host struct{ name, port string }

// hosts returns the servers that a URL names, in its order: as libpq writes them,
// h1:1,h2:2, or as SQLAlchemy does, by options host=h1:1&host=h2:2, which hide the
// former, or by host=h1,h2&port=1,2.
func (l location) hosts() []host {
	names, ports := l.host, l.port
	if l.options.Has("host") {
		names = strings.Join(l.options["host"], ",")
	}
	if l.options.Has("port") {
		ports = strings.Join(l.options["port"], ",")
	}
	var hosts []host
	for _, name := range strings.Split(names, ",") {
		hosts = append(hosts, splitHost(name))
	}
	rest := strings.Split(ports, ",")
	for i := range hosts {
		if hosts[i].port == "" {
			hosts[i].port = rest[min(i, len(rest)-1)]
		}
	}
	return hosts
}

// hostPort is a name or an address of IPv4, or one of IPv6 in brackets, with a port.
var hostPort = regexp.MustCompile(`^(?:\[([^\]]+)\]|([^/:@\[\]]*))(?::([^:]*))?$`)

func splitHost(text string) host {
	m := hostPort.FindStringSubmatch(text)
	if m == nil { // a directory, or an address of IPv6
		return host{name: text}
	}
	return host{m[1] + m[2], m[3]}
}

func (l location) checkSQLite() error {
	if l.user != "" || l.password != "" || l.host != "" || l.port != "" {
		return errors.New("an SQLite database has no host: write sqlite:///relative/path or sqlite:////absolute/path")
	}
	if strings.HasPrefix(l.database, "file:") {
		return errors.New("the path of an SQLite database is written without file: in front")
	}
	return nil
}

// unescape decodes %XX; text that is not encoded stands for itself.
func unescape(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}

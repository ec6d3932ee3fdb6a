package asynqqueue

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/hibiken/asynq"
)

// dialTimeout keeps a host that does not answer from holding up the end of Work,
// since asynq tries a few times.
const dialTimeout = 2 * time.Second

// ParseRedis tells how to reach the Redis at a URL:
//
//	redis://user:password@host:6379/0
//	rediss://...                                          with TLS
//	redis-socket://:password@/run/redis/redis.sock?db=0
//	redis-sentinel://:password@host1:26379,host2:26379?master=name
//	redis-cluster://user:password@host1:6379,host2:6379
//
// redis:// and rediss:// with several hosts are clusters too. A user and ports may
// be left out. The password for sentinels is theirs, not Redis's. Errors never
// contain the password.
func ParseRedis(raw string) (asynq.RedisConnOpt, error) {
	scheme, rest, _ := strings.Cut(raw, "://")
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	userinfo, hostList := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		userinfo, hostList = authority[:i+1], authority[i+1:]
	}
	hosts, err := parseHosts(hostList, scheme)
	if err != nil {
		return nil, err
	}
	// Neither net/url nor asynq take several hosts with ports. What they say about
	// the rest may have the password in it.
	u, err := url.Parse(scheme + "://" + userinfo + hosts[0] + path)
	if err != nil {
		return nil, errors.New("the URL of Redis is malformed: in a password, write %2F for a slash and likewise for other special characters")
	}
	password, _ := u.User.Password()
	if scheme == "redis-cluster" || len(hosts) > 1 && scheme != "redis-sentinel" {
		if db := strings.Trim(u.Path, "/"); db != "" && db != "0" {
			return nil, errors.New("the URL of Redis has a database number, and clusters have no databases")
		}
		opt := asynq.RedisClusterClientOpt{Addrs: hosts, Username: u.User.Username(), Password: password, DialTimeout: dialTimeout}
		if scheme == "rediss" {
			opt.TLSConfig = &tls.Config{}
		}
		return opt, nil
	}
	opt, err := asynq.ParseRedisURI(u.String())
	if err != nil {
		return nil, fmt.Errorf("the URL of Redis: %w", err)
	}
	switch opt := opt.(type) {
	case asynq.RedisClientOpt:
		opt.Username, opt.DialTimeout = u.User.Username(), dialTimeout
		return opt, nil
	case asynq.RedisFailoverClientOpt:
		if opt.MasterName == "" {
			return nil, errors.New("the URL of Redis does not name what the sentinels watch: add ?master=NAME")
		}
		opt.SentinelAddrs, opt.SentinelUsername, opt.DialTimeout = hosts, u.User.Username(), dialTimeout
		return opt, nil
	}
	return opt, nil
}

// parseHosts splits hosts and adds the ports that are missing.
func parseHosts(list, scheme string) ([]string, error) {
	port := "6379"
	switch scheme {
	case "redis-socket":
		if list != "" {
			return nil, errors.New("the URL of Redis has a host and a socket: write redis-socket:///path")
		}
		return []string{""}, nil
	case "redis", "rediss", "redis-cluster":
	case "redis-sentinel":
		port = "26379"
	default:
		return nil, errors.New("the URL of Redis must begin with redis://, rediss://, redis-socket://, redis-sentinel:// or redis-cluster://")
	}
	var hosts []string
	for host := range strings.SplitSeq(list, ",") {
		u, err := url.Parse("redis://" + host)
		if err != nil || u.Hostname() == "" {
			return nil, errors.New("the URL of Redis wants hosts, with commas between, each with a port or not")
		}
		hosts = append(hosts, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)))
	}
	return hosts, nil
}

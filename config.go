package duffy

import (
	"cmp"
	"errors"
	"time"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ssh"
	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/internal/config"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/tenant"
)

// LoadConfig reads configuration files, and the *.yaml and *.yml files of
// directories, in the form of Duffy 3. Its error names each mistake with file
// and line. Whether the pools' backends can work with them is up to
// [Config.CheckPools].
func LoadConfig(paths ...string) (Config, error) {
	loaded, err := config.Load(paths...)
	if err != nil {
		return Config{}, err
	}
	f := &files{Files: loaded}
	for _, p := range loaded.Pools() {
		f.pools = append(f.pools, pool.Raw(p))
	}
	pools, err := pool.Parse(f.pools)
	if err != nil {
		return Config{}, f.placeAll(err)
	}
	c := loaded.Config()
	cfg := Config{
		Database: c.Database.URL,
		Pools:    pools,
		Limits: tenant.Limits{
			NodeQuota:          c.Defaults.NodeQuota,
			SessionQuota:       c.Defaults.SessionQuota,
			SessionLifetime:    c.Defaults.SessionLifetime,
			SessionLifetimeMax: c.Defaults.SessionLifetimeMax,
		},
		LongWorkers:     c.Tasks.LongWorkers,
		Workers:         c.Tasks.Workers,
		ShutdownTimeout: c.Tasks.ShutdownTimeout,
		ReconcileEvery:  DefaultReconcileEvery,
		AnonymousRead:   anonymousRead[c.App.AnonymousRead],
		TrustedProxies:  c.App.TrustedProxies,
		Concurrency:     c.App.Limits.Requests,
		HideMetrics:     c.App.Metrics.Port != 0,
		files:           f,
	}
	for _, every := range []time.Duration{c.Tasks.FillPools, c.Tasks.ExpireSessions} {
		if every > 0 { // longer intervals have no use: looking costs next to nothing
			cfg.ReconcileEvery = min(cfg.ReconcileEvery, every)
		}
	}
	cfg.SSH = ssh.Config{
		User: c.SSH.User, Port: c.SSH.Port, KeyFiles: c.SSH.KeyFiles, Agent: c.SSH.Agent,
		HostKeys: backend.HostKeys(c.SSH.HostKeys), ConnectTimeout: c.SSH.ConnectTimeout, CommandTimeout: c.SSH.CommandTimeout,
		AuthorizedKeys: c.SSH.AuthorizedKeys, ProxyJump: c.SSH.ProxyJump,
		KexAlgorithms: c.SSH.KexAlgorithms, Ciphers: c.SSH.Ciphers, MACs: c.SSH.MACs,
	}
	if err := cfg.SSH.Check(); err != nil {
		return Config{}, f.placeAll(err)
	}
	// A playbook that waits for another one would do so on its own time.
	cfg.Ansible.Concurrency = cmp.Or(c.Ansible.Concurrency, cfg.LongWorkers)
	return cfg, nil
}

var anonymousRead = map[config.AnonymousRead]httpapi.AnonymousRead{
	config.AnonymousLimited: httpapi.ReadLimited,
	config.AnonymousFull:    httpapi.ReadFull,
	config.AnonymousNone:    httpapi.ReadNone,
}

// files name the places where mistakes are.
type files struct {
	*config.Files
	pools []pool.Raw
}

// placeAll puts file and line before each of the errors of pool.Parse and ssh.Config.
func (f *files) placeAll(err error) error {
	var errs []error
	for _, err := range split(err) {
		var wrong *pool.ConfigError
		var setting *backend.SettingError
		switch {
		case errors.As(err, &wrong):
			err = f.At(wrong.Err, append([]string{"nodepools"}, wrong.Path...)...)
		case errors.As(err, &setting):
			err = f.At(setting.Err, setting.Path...)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// place puts file and line, or at least the pool, before each of a backend's
// errors about the pool called name.
func (f *files) place(name string, err error) error {
	var errs []error
	for _, err := range split(err) {
		var wrong *backend.SettingError
		switch {
		case !errors.As(err, &wrong):
		case f != nil:
			err = f.At(wrong.Err, append([]string{"nodepools"}, pool.Origin(f.pools, name, wrong.Path...)...)...)
		default:
			err = &pool.ConfigError{Pool: name, Path: append([]string{"concrete", name}, wrong.Path...), Err: wrong.Err}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// split takes apart what errors.Join put together.
func split(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, err := range joined.Unwrap() {
			errs = append(errs, split(err)...)
		}
		return errs
	}
	return []error{err}
}

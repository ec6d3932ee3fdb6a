package config_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/config"
)

func TestFilesWithSecrets(t *testing.T) {
	t.Parallel()
	for content, secrets := range map[string]bool{
		"":               false,
		"app: {host: a}": false,
		"database: {url: 'postgresql://duffy@/duffy?host=/run/postgresql'}":                  false,
		"database: {url: 'sqlite:////var/lib/duffy/duffy.db'}":                               false,
		"tasks: {redis: 'redis://localhost:6379/0'}":                                         false,
		"client: {url: 'http://localhost:8080', auth: {name: ci, key-file: /etc/duffy/key}}": false,
		"nodepools: {abstract: {a: {token-count: 5, password: '', secret: ~}}}":              false,
		"metaclient: {usermap: {}}":                                                          false,

		"database: {url: 'postgresql://duffy:s3cret@localhost/duffy'}":                          true,
		"database: {url: 'postgresql:///duffy?host=localhost&password=s3cret'}":                 true,
		"database: {sqlalchemy: {async_url: 'postgresql+asyncpg://a:b@c/d'}}":                   true,
		"tasks: {redis: 'redis://:s3cret@localhost'}":                                           true,
		"tasks: {locking: {url: 'redis://:s3cret@localhost'}}":                                  true,
		"client: {auth: {key: s3cret}}":                                                         true,
		"metaclient: {usermap: {s3cret: ci}}":                                                   true,
		"database: {url: 'postgresql://duffy:s3/cret@localhost/duffy'}":                         true,
		"nodepools: {abstract: {a: {mechanism: {ansible: {extra-vars: {API_TOKEN: s3cret}}}}}}": true,
		"nodepools: {concrete: {a: {l: [{db_password: 5}]}}}":                                   true,
		"client: {auth: {key: s3cret}}\n---\nclient: {auth: {key: ''}}":                         true,
	} {
		dir := write(t, "a.yaml", content, "b.yaml", "app: {port: 5}\nclient: {auth: {key: ''}}")
		require.Equal(t, []config.File{
			{Name: filepath.Join(dir, "a.yaml"), Secrets: secrets},
			{Name: filepath.Join(dir, "b.yaml")},
		}, load(t, dir).Files(), content)
	}
}

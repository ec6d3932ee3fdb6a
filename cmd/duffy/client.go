package main

import (
	"github.com/duffy-ci/duffy/internal/clientcli"
	"github.com/duffy-ci/duffy/internal/config"
)

type clientCmd struct{ clientcli.Command }

// BeforeResolve has the client take what flags and environment leave open from
// the configuration.
func (c *clientCmd) BeforeResolve(p *program) error {
	c.Stdin = p.stdin
	c.Defaults = func() (clientcli.Settings, error) {
		client, denied, err := config.LoadClient(p.Config...)
		return clientcli.Settings{
			URL: client.URL, Name: client.AuthName, Key: client.AuthKey, KeyFile: client.AuthKeyFile, Denied: denied,
		}, err
	}
	return nil
}

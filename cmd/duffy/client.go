package main

import (
	"github.com/duffy-ci/duffy/internal/clientcli"
)

type clientCmd struct{ clientcli.Command }

// BeforeResolve has the client take what flags and environment leave open from
// the configuration.
func (c *clientCmd) BeforeResolve(p *program) error {
	c.Stdin = p.stdin
	c.Defaults = func() (clientcli.Settings, error) {
		files, err := p.load()
		if err != nil {
			return clientcli.Settings{}, err
		}
		client := files.Config().Client
		return clientcli.Settings{URL: client.URL, Name: client.AuthName, Key: client.AuthKey, KeyFile: client.AuthKeyFile}, nil
	}
	return nil
}

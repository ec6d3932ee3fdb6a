package ansible

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/jinja"
)

// duffyIn returns what playbooks, and templates in their variables, get to know
// about nodes.
func duffyIn(nodes []backend.Node, deprovision bool) map[string]any {
	told := make([]any, len(nodes))
	for i, node := range nodes {
		about := known(node)
		if deprovision {
			about["data"] = data(node)
		}
		told[i] = about
	}
	return map[string]any{"nodes": told}
}

func known(node backend.Node) map[string]any {
	about := map[string]any{"id": node.ID, "hostname": nil, "ipaddr": nil}
	if node.Hostname != "" {
		about["hostname"] = node.Hostname
	}
	if node.IPAddr != "" {
		about["ipaddr"] = node.IPAddr
	}
	return about
}

// data returns the node's data with what provisioning told.
func data(node backend.Node) map[string]any {
	data := map[string]any{}
	if node.Provision != nil {
		data["provision"] = node.Provision
	}
	maps.Copy(data, node.Data)
	return data
}

// extraVars returns the variables for a playbook, rendered, as JSON.
func extraVars(pool backend.Pool, s settings, p *playbook, in map[string]any) ([]byte, error) {
	templates := map[string]any{}
	maps.Copy(templates, s.extraVars)
	maps.Copy(templates, p.extraVars)

	scope := maps.Clone(pool.Vars)
	if scope == nil {
		scope = map[string]any{}
	}
	scope["duffy_in"] = in
	rendered, err := jinja.RenderAll(templates, scope)
	if err != nil {
		return nil, fmt.Errorf("extra-vars for %s: %w", p.path, err)
	}
	vars := rendered.(map[string]any)
	vars["duffy_in"] = in
	text, err := json.Marshal(vars)
	if err != nil {
		return nil, fmt.Errorf("extra-vars for %s: %w", p.path, err)
	}
	return text, nil
}

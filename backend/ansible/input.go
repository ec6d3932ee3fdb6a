package ansible

import (
	"fmt"
	"maps"
	"strings"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/jinja"
)

// duffyIn returns the variable duffy_in of playbooks, and of templates in their
// variables.
func duffyIn(req backend.Request, deprovision bool) map[string]any {
	told := make([]any, len(req.Nodes))
	for i, node := range req.Nodes {
		about := known(req, node)
		if deprovision {
			about["data"] = data(node)
		}
		told[i] = about
	}
	return map[string]any{"installation": req.Installation, "nodes": told}
}

func known(req backend.Request, node backend.Node) map[string]any {
	about := map[string]any{"id": node.ID, "name": req.NodeName(node.ID), "hostname": nil, "ipaddr": nil}
	if node.Hostname != "" {
		about["hostname"] = node.Hostname
	}
	if node.IPAddr != "" {
		about["ipaddr"] = node.IPAddr
	}
	return about
}

// withheld are keys of a node's data that no playbook has a use for: they hold the
// words of nodes, of failed tasks and of tenants.
var withheld = []string{"error", "nodes_spec"}

// data returns the node's data with the result of its provisioning.
func data(node backend.Node) map[string]any {
	data := map[string]any{}
	if node.Provision != nil {
		data["provision"] = node.Provision
	}
	maps.Copy(data, node.Data)
	for _, key := range withheld {
		delete(data, key)
	}
	return data
}

// duffyInName is how templates refer to duffy_in.
const duffyInName = "duffy_in"

// extraVars returns the file of variables for a playbook. Ansible renders strings in
// it as templates, as the operator may want it in extra-vars. Text from elsewhere,
// and text that was rendered from it, is marked so that Ansible leaves it alone.
func extraVars(pool backend.Pool, s settings, p *playbook, in map[string]any) ([]byte, error) {
	templates := map[string]any{}
	maps.Copy(templates, s.extraVars)
	maps.Copy(templates, p.extraVars)

	scope := maps.Clone(pool.Vars)
	if scope == nil {
		scope = map[string]any{}
	}
	scope[duffyInName] = in
	vars, err := render(templates, scope)
	if err != nil {
		return nil, fmt.Errorf("extra-vars for %s: %w", p.path, err)
	}
	vars[duffyInName] = untrusted{in}
	file, err := encodeVars(vars)
	if err != nil {
		return nil, fmt.Errorf("extra-vars for %s: %w", p.path, err)
	}
	return file, nil
}

// render renders the templates among the values of a map, at any depth. A template
// that names duffy_in may repeat text from elsewhere; another one has no way to it.
func render(templates, scope map[string]any) (map[string]any, error) {
	rendered := make(map[string]any, len(templates))
	for key, value := range templates {
		var err error
		switch value := value.(type) {
		case map[string]any:
			rendered[key], err = render(value, scope)
		case string:
			var text any
			text, err = jinja.RenderAll(value, scope)
			if rendered[key] = text; strings.Contains(value, duffyInName) {
				rendered[key] = untrusted{text}
			}
		default:
			rendered[key] = value
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	return rendered, nil
}

package jinja_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/jinja"
)

const varsJSON = `{
	"name": "virtual-centos8stream-x86_64-small",
	"architecture": "x86_64",
	"arch": "ppc64le",
	"ver": "8-stream",
	"hostname": "n42.ci.example.net",
	"fill-level": 5,
	"cpus": 4,
	"factor": 2.5,
	"yes": true,
	"no": false,
	"null": null,
	"empty": "",
	"place": "Zürich ✓",
	"mechanism": {"ansible": {"topdir": "/srv/playbooks"}, "type": "ansible"},
	"networks": ["front", "back"],
	"duffy_in": {"nodes": [
		{"id": 7, "hostname": null, "ipaddr": null},
		{"id": 8, "hostname": "host8", "ipaddr": "192.0.2.8"}
	]}
}`

// templates have the text that Python's jinja2 makes of them.
var templates = []struct{ source, text string }{
	{"", ""},
	{"plain", "plain"},
	{"{{ name }}", "virtual-centos8stream-x86_64-small"},
	{"duffy-{{ architecture }}-{{ cpus }}", "duffy-x86_64-4"},
	{`{% set parts=name.split("-") %}duffy-{{ parts[1:] | join("-") }}`, "duffy-centos8stream-x86_64-small"},
	{"{{ duffy_in.nodes | length }}", "2"},
	{"virtual-centos{{ ver | replace('-', '') }}-{{ arch }}-{{ flavor | default('medium') }}", "virtual-centos8stream-ppc64le-medium"},
	{"{{ hostname | replace('.ci.example.net', '') }}", "n42"},
	{"{{ hostname.split('.')[0] }}", "n42"},
	{"{{ hostname.split('.', 1)[1] }}", "ci.example.net"},
	{"{{ name.split('-', maxsplit=1) }}", "['virtual', 'centos8stream-x86_64-small']"},
	{"{{ name.rsplit('-', 1) | first }}", "virtual-centos8stream-x86_64"},
	{"{{ name.rsplit('-', 9) | length }}", "4"},
	{"{{ ' a  b '.split() }}", "['a', 'b']"},
	{"{{ name.split('-')[-1] }} {{ name.split('-')[1:-1] | join('/') }}", "small centos8stream/x86_64"},
	{"{{ name.split('-') | reverse | join('-') }} {{ place | reverse }}", "small-x86_64-centos8stream-virtual ✓ hcirüZ"},
	{"{{ 'virtual' in name.split('-') }} {{ 'physical' in name }}", "True False"},
	{"{{ name[:7] }} {{ name[-5:] }} {{ name[0] }}", "virtual small v"},
	{"{{ name.replace('-', '_') }}", "virtual_centos8stream_x86_64_small"},
	{"{{ name.replace('-', '_', 1) }} {{ name.count('-') }}", "virtual_centos8stream-x86_64-small 3"},
	{"{{ ' x '.strip() }} {{ '..x'.lstrip('.') }} {{ 'x..'.rstrip('.') }}", "x x x"},
	{"{{ name.upper() }} {{ name | title }} {{ place | upper }}", "VIRTUAL-CENTOS8STREAM-X86_64-SMALL Virtual-Centos8stream-X86_64-Small ZÜRICH ✓"},
	{"{{ name.startswith('virtual') }} {{ name.endswith('large') }}", "True False"},
	{"{{ name.split('-')[1][:6] }}{{ name.split('-')[1][6:7] | int + 1 }}", "centos9"},
	{"{{ {'small': 1, 'large': 4}[name.split('-')[-1]] }}", "1"},
	{"{{ {'large': 4}.get('small', 2) }}", "2"},
	{"{{ mechanism.ansible.topdir }} {{ mechanism['type'] }}", "/srv/playbooks ansible"},
	{"{{ networks }} {{ networks | join('+') }} {{ networks | last }}", "['front', 'back'] front+back back"},
	{"{{ yes }} {{ no }} {{ null }} {{ cpus }} {{ factor }}", "True False None 4 2.5"},
	{"{{ missing }}|{{ mechanism.missing }}|{{ null.missing }}|{{ networks[9] }}", "|||"},
	{"{{ missing | default }}|{{ missing | default('d') }}|{{ missing | d('d') | upper }}", "|d|D"},
	{"{{ null | default('d') }} {{ null | default('d', true) }} {{ empty | default('d', boolean=True) }}", "None d d"},
	{"{{ null is none }} {{ null == none }} {{ missing is none }} {{ null is defined }} {{ missing is defined }}", "True True False True False"},
	{"{{ null or 'or' }} {{ not null }} {{ missing or 'or' }}", "or True or"},
	{"{{ duffy_in.nodes[0].hostname }} {{ duffy_in.nodes[1].hostname }} {{ duffy_in.nodes[0].id }}", "None host8 7"},
	{"{% if duffy_in.nodes[0].hostname != none %}old{% else %}new{% endif %}", "new"},
	{"{{ duffy_in.nodes | map(attribute='id') | join(',') }}", "7,8"},
	{"{{ duffy_in.nodes | selectattr('ipaddr') | map(attribute='hostname') | list }}", "['host8']"},
	{"{{ duffy_in.nodes | rejectattr('ipaddr', 'none') | list | length }}", "1"},
	{"{% for node in duffy_in.nodes %}{{ node.id }}{% if not loop.last %},{% endif %}{% endfor %}", "7,8"},
	{"{% for i in range(1, 4) %}{{ i }}{% endfor %} {{ range(2) | list }}", "123 [0, 1]"},
	{"{{ 'many' if cpus > 3 else 'few' }} {{ cpus + 1 }} {{ cpus * 2 }} {{ cpus / 2 }} {{ cpus // 3 }} {{ cpus % 3 }}", "many 5 8 2.0 1 1"},
	{"{% set ns = namespace(sum=0) %}{% for n in duffy_in.nodes %}{% set ns.sum = ns.sum + n.id %}{% endfor %}{{ ns.sum }}", "15"},
	{"{{ name ~ '-' ~ cpus }} {{ '%s-%02d' | format(arch, cpus) }}", "virtual-centos8stream-x86_64-small-4 ppc64le-04"},
	{"{# comment #}a {%- set b = 1 -%}  b{% raw %}{{ name }}{% endraw %}", "ab{{ name }}"},
	{"no newline at the end\n", "no newline at the end"},
	{"one newline at the end\n\n", "one newline at the end\n"},
	{"{{ name }}\r\nnext\r\n", "virtual-centos8stream-x86_64-small\nnext"},
	{"{% if yes %}\nline\n{% endif %}\nend", "\nline\n\nend"},
	{"<{{ '<&>' }}>", "<<&>>"},
}

func variables(t testing.TB) map[string]any {
	var vars map[string]any
	decoder := json.NewDecoder(strings.NewReader(varsJSON))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&vars))
	return vars
}

func render(t testing.TB, source string) (string, error) {
	template, err := jinja.Compile(source)
	if err != nil {
		return "", err
	}
	return template.Render(variables(t))
}

func TestRender(t *testing.T) {
	for _, tt := range templates {
		text, err := render(t, tt.source)
		require.NoError(t, err, tt.source)
		require.Equal(t, tt.text, text, tt.source)
	}
}

// TestRenderAsPython shows that the table is right about Python.
func TestRenderAsPython(t *testing.T) {
	const script = `
import json, sys, jinja2
given = json.load(sys.stdin)
json.dump([jinja2.Template(t).render(**given["vars"]) for t in given["templates"]], sys.stdout)`
	var sources, want, got []string
	for _, tt := range templates {
		sources, want = append(sources, tt.source), append(want, tt.text)
	}
	input, err := json.Marshal(map[string]any{"vars": variables(t), "templates": sources})
	require.NoError(t, err)
	interpreter := "/usr/bin/python3" // for which Debian packages jinja2
	if _, err := os.Stat(interpreter); err != nil {
		interpreter = "python3"
	}
	python := exec.CommandContext(t.Context(), interpreter, "-c", script)
	python.Stdin = bytes.NewReader(input)
	output, err := python.Output()
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("no python3 with jinja2")
	}
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(output, &got))
	require.Equal(t, want, got)
}

func TestErrors(t *testing.T) {
	for source, reason := range map[string]string{
		"{{ name":                                         "'}}' expected",
		"{{ }}":                                           "line 1, column 4",
		"a\n{% if yes %}":                                 "line 2",
		"{% endif %}":                                     "endif",
		"{{ name | }}":                                    "filter name",
		"{{ missing.attribute }}":                         "None",
		"{{ missing() }}":                                 "not callable",
		"{{ name | nofilter }}":                           "nofilter",
		"{{ name is notest }}":                            "notest",
		"{{ name.nomethod() }}":                           "nomethod",
		"{{ 'a b'.split(maxsplit=1) }}":                   "maxsplit",
		"{{ range() }}":                                   "range",
		"{{ range(1, 2, 0) }}":                            "step",
		"{{ range('a') }}":                                "integer",
		"{{ range(10000000000) }}":                        "100000",
		"{{ 1.\u00e9 }}":                                  "not ASCII",
		"{{ '%s' % name }}":                               "makes no sense",
		"{% raw %}{% endraw %}":                           "makes no sense",
		"{% include '/etc/passwd' %}":                     "include",
		"{% extends '/etc/passwd' %}":                     "extends",
		"{% import '/etc/passwd' as p %}":                 "import",
		"{% from '/etc/passwd' import p %}":               "from",
		"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "macro",
		"{% for n in [1] recursive %}{{ loop([1]) }}{% endfor %}": "recursive",
		strings.Repeat("(", 40_000):                               "longer than",
		"{{ " + strings.Repeat("(", 16_000) + " }}":               "line 1",
	} {
		_, err := render(t, source)
		require.ErrorContains(t, err, reason, "%.80s", source)
	}
}

func TestSyntaxErrorsDoNotQuoteTheSource(t *testing.T) {
	for _, source := range []string{"s3cret{{", "{{ s3cret s3cret }}", "{{ 's3cret }}", "{% if s3cret", "{{ s3cret | }}"} {
		_, err := jinja.Compile(source)
		require.Error(t, err, source)
		require.NotContains(t, err.Error(), "s3cret")
	}
}

func TestRenderAll(t *testing.T) {
	obj := map[string]any{
		"name":   "{{ name }}",
		"number": 7,
		"nested": map[string]any{"arch": "{{ arch }}", "none": nil},
		"list":   []any{"{{ name }}", map[string]any{"a": "{{ arch }}"}},
	}
	rendered, err := jinja.RenderAll(obj, variables(t))
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"name":   "virtual-centos8stream-x86_64-small",
		"number": 7,
		"nested": map[string]any{"arch": "ppc64le", "none": nil},
		"list":   obj["list"],
	}, rendered)
	require.Equal(t, "{{ name }}", obj["name"], "the original is left alone")

	_, err = jinja.RenderAll(map[string]any{"a": map[string]any{"b": "{{"}}, nil)
	require.ErrorContains(t, err, "a: b: ")
}

func TestRenderLeavesVariablesAlone(t *testing.T) {
	template, err := jinja.Compile("{% set x = networks.append('more') %}{% set y = networks.reverse() %}{% set mechanism.type = 'none' %}{{ networks }}")
	require.NoError(t, err)
	vars := variables(t)
	_, err = template.Render(vars)
	require.NoError(t, err)
	require.Equal(t, variables(t), vars)
}

func TestRenderConcurrently(t *testing.T) {
	template, err := jinja.Compile("{% for n in duffy_in.nodes %}{{ n.id }}{% endfor %}{{ name | replace('-', '') | upper }}")
	require.NoError(t, err)
	vars := variables(t)
	want, err := template.Render(vars)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 20 {
				got, err := template.Render(vars)
				if err != nil || got != want {
					t.Errorf("rendered %q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzRender(f *testing.F) {
	for _, tt := range templates {
		f.Add(tt.source)
	}
	f.Add("{{ 0.Ⴖ }}")
	vars := variables(f)
	f.Fuzz(func(t *testing.T, source string) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if template, err := jinja.Compile(source); err == nil {
				_, _ = template.Render(vars)
			}
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("still rendering")
		}
	})
}

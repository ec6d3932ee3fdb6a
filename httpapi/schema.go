package httpapi

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// registerSchemas tells huma about those types of the API whose form in JSON
// their Go type does not show.
func registerSchemas(r huma.Registry) {
	alias[apiv1.Integer, integer](r)
	alias[apiv1.Boolean, boolean](r)
	alias[apiv1.TimeSpec, timeSpec](r)
	alias[apiv1.Time, timestamp](r)
	alias[apiv1.Optional[apiv1.Integer], nullable[integer]](r)
	alias[apiv1.Optional[apiv1.Boolean], nullable[boolean]](r)
	alias[apiv1.Optional[apiv1.TimeSpec], nullable[timeSpec]](r)
	alias[apiv1.Optional[string], nullable[text]](r)
}

// describeProblems corrects what huma says of errors, which are its own kind
// unless a global variable of it is changed.
func describeProblems(doc *huma.OpenAPI) {
	problem := doc.Components.Schemas.Schema(reflect.TypeFor[apiv1.Problem](), true, "")
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Post, path.Put} {
			if op == nil {
				continue
			}
			for _, response := range op.Responses {
				if response.Content["application/problem+json"] != nil {
					response.Content = map[string]*huma.MediaType{"application/json": {Schema: problem}}
				}
			}
		}
	}
	schemas := doc.Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
}

func alias[T, Schema any](r huma.Registry) {
	r.RegisterTypeAlias(reflect.TypeFor[T](), reflect.TypeFor[Schema]())
}

type integer struct{}

func (integer) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeInteger},
		{Type: huma.TypeString, Pattern: `^\s*[-+]?\d+\s*$`, PatternDescription: "digits"},
	}}
}

type boolean struct{}

func (boolean) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeBoolean},
		{Type: huma.TypeInteger, Enum: []any{0, 1}},
		{Type: huma.TypeString, Pattern: `(?i)^(true|t|yes|y|on|1|false|f|no|n|off|0)$`, PatternDescription: "true or false"},
	}}
}

type timeSpec struct{}

func (timeSpec) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		OneOf:    []*huma.Schema{{Type: huma.TypeString}, {Type: huma.TypeNumber}},
		Examples: []any{"6h", "+1h30m", "2026-11-22T15:43:13Z"},
	}
}

type timestamp struct{}

func (timestamp) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Format: "date-time",
		Examples: []any{"2026-11-22T15:43:13.672953+00:00"},
	}
}

type text struct{}

func (text) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeString} }

type nullable[T huma.SchemaProvider] struct{}

func (nullable[T]) Schema(r huma.Registry) *huma.Schema {
	var t T
	return &huma.Schema{AnyOf: []*huma.Schema{t.Schema(r), {Type: "null"}}}
}

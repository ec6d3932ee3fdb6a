package httpapi

import (
	"encoding/json"
	"net/http"
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

// described answers with the description of the API, which changes no more.
func (a *api) described(doc *huma.OpenAPI) http.HandlerFunc {
	describe(doc)
	text, err := json.Marshal(doc)
	return func(w http.ResponseWriter, r *http.Request) {
		if err != nil {
			a.log.ErrorContext(r.Context(), "cannot describe the API", "err", err)
			writeProblem(w, http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(text)
	}
}

// describe completes what huma says of the API: where it is, redirects, headers, and
// errors, which are its own kind unless a global variable of it is changed.
func describe(doc *huma.OpenAPI) {
	doc.Servers = []*huma.Server{{URL: ".", Description: "Where this description is, whatever is in front of it."}}
	problem := doc.Components.Schemas.Schema(reflect.TypeFor[apiv1.Problem](), true, "")
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Post, path.Put} {
			if op == nil {
				continue
			}
			for status, response := range op.Responses {
				if response.Content["application/problem+json"] != nil {
					response.Content = map[string]*huma.MediaType{"application/json": {Schema: problem}}
				}
				if header, ok := answerHeaders[status]; ok {
					response.Headers = map[string]*huma.Header{header: {Schema: &huma.Schema{Type: huma.TypeString}}}
				}
			}
			op.Responses["307"] = &huma.Response{
				Description: "The path has a slash at its end",
				Headers:     map[string]*huma.Header{"Location": {Schema: &huma.Schema{Type: huma.TypeString, Format: "uri-reference"}}},
			}
		}
	}
	schemas := doc.Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
}

// answerHeaders are the headers of answers with a status.
var answerHeaders = map[string]string{"401": "WWW-Authenticate", "429": "Retry-After", "503": "Retry-After"}

func ptr[T any](v T) *T { return &v }

func alias[T, Schema any](r huma.Registry) {
	r.RegisterTypeAlias(reflect.TypeFor[T](), reflect.TypeFor[Schema]())
}

type integer struct{}

func (integer) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeInteger, Format: "int64"},
		{Type: huma.TypeString, Pattern: `^\s*[-+]?\d+\s*$`, MaxLength: ptr(64)},
	}}
}

// truthValues has both cases of each letter: other regular expressions than Go's have
// other ways to say that none counts, or none at all.
const truthValues = `^([Tt]([Rr][Uu][Ee])?|[Yy]([Ee][Ss])?|[Oo][Nn]|1|[Ff]([Aa][Ll][Ss][Ee])?|[Nn][Oo]?|[Oo][Ff][Ff]|0)$`

type boolean struct{}

func (boolean) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeBoolean},
		{Type: huma.TypeInteger, Enum: []any{0, 1}},
		{Type: huma.TypeString, Pattern: truthValues},
	}}
}

type timeSpec struct{}

func (timeSpec) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		OneOf:    []*huma.Schema{{Type: huma.TypeString, MaxLength: ptr(100)}, {Type: huma.TypeNumber}},
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

func (text) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, MaxLength: ptr(bodyMax)}
}

type nullable[T huma.SchemaProvider] struct{}

func (nullable[T]) Schema(r huma.Registry) *huma.Schema {
	var t T
	return &huma.Schema{AnyOf: []*huma.Schema{t.Schema(r), {Type: "null"}}}
}

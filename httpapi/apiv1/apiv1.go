// Package apiv1 holds what goes over the wire of Duffy's REST API, version 1:
// request bodies, results and errors, in JSON exactly as Duffy 3 reads and
// writes it. It knows nothing of the service behind, so that clients need not
// link it.
//
// A pointer in a result is null in JSON when nil, and always present. Maps and
// slices in results must not be nil: released clients refuse null there.
//
// Request bodies accept all that Duffy 3 accepted, which is more than the
// documented form: see [Integer], [Boolean] and [TimeSpec]. Keys that are not
// known are ignored on both sides, so that either can be the newer one.
package apiv1

// Action is what a result says it is the answer to.
type Action string

// The actions are named like the HTTP methods.
const (
	ActionGet  Action = "get"
	ActionPost Action = "post"
	ActionPut  Action = "put"
)

// Masked stands for a secret in a result.
const Masked = "**********"

// A Problem is the body of every answer that is not a success: a problem
// document of RFC 9457, of which Duffy 3 and its clients know Detail only.
type Problem struct {
	Type     string        `json:"type,omitempty" doc:"URI of the kind of problem" format:"uri-reference"`
	Title    string        `json:"title,omitempty" doc:"Kind of problem" example:"Unprocessable Entity"`
	Status   int           `json:"status,omitempty" doc:"HTTP status" example:"422"`
	Detail   string        `json:"detail" doc:"What is wrong" example:"session 5 is retired"`
	Instance string        `json:"instance,omitempty" doc:"URI of this occurrence" format:"uri-reference"`
	Errors   []ProblemItem `json:"errors,omitempty" doc:"What is wrong with which part of the request"`
}

// A ProblemItem says what is wrong with one part of a request.
type ProblemItem struct {
	Message  string `json:"message" doc:"What is wrong" example:"expected a number of at least 1"`
	Location string `json:"location,omitempty" doc:"Where" example:"body.nodes_specs[0].quantity"`
	Value    any    `json:"value,omitempty" doc:"What was sent"`
}

package apiv1

import "encoding/json"

// Optional is a field that can be absent, null, or have a value, where null
// means something else than absent. Its JSON tag must say omitzero.
type Optional[T any] struct {
	Set   bool // present, if only as null
	Value *T   // nil for null
}

// Some returns an Optional that is present and has the value v.
func Some[T any](v T) Optional[T] { return Optional[T]{Set: true, Value: &v} }

// Null returns an Optional that is present as null.
func Null[T any]() Optional[T] { return Optional[T]{Set: true} }

// IsZero reports whether the field is absent.
func (o Optional[T]) IsZero() bool { return !o.Set }

// MarshalJSON implements [json.Marshaler].
func (o Optional[T]) MarshalJSON() ([]byte, error) { return json.Marshal(o.Value) }

// UnmarshalJSON implements [json.Unmarshaler].
func (o *Optional[T]) UnmarshalJSON(data []byte) error {
	o.Set = true
	return json.Unmarshal(data, &o.Value)
}

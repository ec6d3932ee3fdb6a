package foreign

// Error returns err with a text that is escaped, see [Text], or nil if err is nil.
// Whatever it wraps can still be found with errors.Is and errors.As.
func Error(err error) error {
	if err == nil {
		return nil
	}
	return &foreignError{Line(err.Error()), err}
}

type foreignError struct {
	text Text
	err  error
}

func (e *foreignError) Error() string { return e.text.String() }
func (e *foreignError) Unwrap() error { return e.err }

package foreign

import (
	"context"
	"fmt"
	"log/slog"
)

// LogHandler returns h with all text escaped that is logged: messages, and values
// that are strings, errors, or anything else that is not a number. It does for every
// handler what [slog.TextHandler] does by itself.
func LogHandler(h slog.Handler) slog.Handler { return logHandler{h} }

type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	escaped := slog.NewRecord(r.Time, r.Level, Escape(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		escaped.AddAttrs(escapeAttr(a))
		return true
	})
	return h.Handler.Handle(ctx, escaped)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	escaped := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		escaped[i] = escapeAttr(a)
	}
	return logHandler{h.Handler.WithAttrs(escaped)}
}

func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }

func escapeAttr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		v = slog.StringValue(Escape(v.String()))
	case slog.KindGroup:
		var group []slog.Attr
		for _, inner := range v.Group() {
			group = append(group, escapeAttr(inner))
		}
		v = slog.GroupValue(group...)
	case slog.KindAny:
		switch any := v.Any().(type) {
		case error:
			v = slog.StringValue(Escape(any.Error()))
		case fmt.Stringer:
			v = slog.StringValue(Escape(any.String()))
		}
	}
	return slog.Attr{Key: a.Key, Value: v}
}

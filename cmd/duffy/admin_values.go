package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/internal/duration"
	"github.com/duffy-ci/duffy/tenant"
)

// A quotaFlag is a number, or none for the default.
type quotaFlag struct {
	set   bool
	value *int
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (f *quotaFlag) UnmarshalText(text []byte) error {
	f.set = true
	if isNone(text) {
		return nil
	}
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a valid integer", text)
	}
	f.value = &n
	return nil
}

// A lifetimeFlag is a duration, or none for the default.
type lifetimeFlag struct {
	set   bool
	value *tenant.Interval
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (f *lifetimeFlag) UnmarshalText(text []byte) error {
	f.set = true
	if isNone(text) {
		return nil
	}
	d, err := duration.Parse(string(text))
	f.value = (*tenant.Interval)(&d)
	return err
}

func isNone(text []byte) bool {
	lower := strings.ToLower(string(text))
	return lower == "none" || lower == "null"
}

// limits shows a tenant's limits and those in effect, like Duffy 3.
func limits(d *duffy.Duffy, t *tenant.Tenant) string {
	l := d.Tenants.Limits(t)
	return fmt.Sprintf("node_quota=%s effective_node_quota=%d"+
		" session_lifetime=%s effective_session_lifetime=%s"+
		" session_lifetime_max=%s effective_session_lifetime_max=%s",
		python(t.NodeQuota), l.NodeQuota,
		python(t.SessionLifetime), duration.Python(l.SessionLifetime),
		python(t.SessionLifetimeMax), duration.Python(l.SessionLifetimeMax))
}

// python shows v as Python does, in which scripts expect it.
func python(v any) string {
	switch v := v.(type) {
	case bool:
		if v {
			return "True"
		}
		return "False"
	case *int:
		if v != nil {
			return strconv.Itoa(*v)
		}
	case *tenant.Interval:
		if v != nil {
			return duration.Python(time.Duration(*v))
		}
	case time.Time:
		return strings.Replace(apiv1.Time{Time: v}.String(), "T", " ", 1)
	case *time.Time:
		if v != nil {
			return python(*v)
		}
	}
	return "None"
}

package foreign

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// How much data may have: bytes of a string, bytes in all, and levels of maps and
// lists. Ansible cannot read back what is nested a few hundred levels deep.
const (
	stringMax = 64 << 10
	dataMax   = 1 << 20
	depthMax  = 64
)

// beyond stands for what is left out.
const beyond = "(too much)"

// Data returns data that both databases can store, whatever it was: its strings and
// keys are UTF-8 without U+0000, its numbers are ones that a database can hold, or text,
// and what is more than a megabyte in all, or nested too deeply, is left out. Everything
// else stays as it is, since deprovisioning is matched by it. data is not changed.
func Data(data map[string]any) map[string]any {
	if data == nil {
		return nil
	}
	c := cleaner{left: dataMax}
	return c.value(data, 0).(map[string]any)
}

// A cleaner makes one copy of data.
type cleaner struct{ left int } // bytes that may still come

func (c *cleaner) value(v any, depth int) any {
	if depth > depthMax || c.left <= 0 {
		return beyond
	}
	c.left -= 8
	switch v := v.(type) {
	case string:
		return c.text(v)
	case json.Number:
		if !storable(v) {
			return c.text(v.String())
		}
		return v
	case map[string]any:
		cleaned := make(map[string]any, min(len(v), 64))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if c.left <= 0 {
				break
			}
			cleaned[c.text(key)] = c.value(v[key], depth+1)
		}
		return cleaned
	case []any:
		return list(c, v, depth)
	case []string:
		return list(c, v, depth)
	case nil, bool, int, int64:
		return v
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return fmt.Sprint(v)
		}
		return v
	default:
		return c.other(v, depth)
	}
}

// other returns a value as JSON has it, or its type if JSON does not have it.
func (c *cleaner) other(v any, depth int) any {
	text, err := json.Marshal(v)
	if err != nil {
		return c.text(fmt.Sprintf("(%T)", v))
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return c.text(fmt.Sprintf("(%T)", v))
	}
	return c.value(plain, depth)
}

// digitsMax is less than any database limits the digits of a number to.
const digitsMax = 1000

// storable tells whether databases can hold a number.
func storable(n json.Number) bool {
	f, err := n.Float64()
	return err == nil && len(n) <= digitsMax && json.Valid([]byte(n)) &&
		(f != 0 || !strings.ContainsAny(strings.SplitN(strings.ToLower(string(n)), "e", 2)[0], "123456789"))
}

// Storable returns text that both databases can store, whatever it was.
func Storable(text string) string {
	c := cleaner{left: dataMax}
	return c.text(text)
}

func list[T any](c *cleaner, items []T, depth int) []any {
	cleaned := make([]any, 0, min(len(items), 64))
	for _, item := range items {
		if c.left <= 0 {
			break
		}
		cleaned = append(cleaned, c.value(item, depth+1))
	}
	return cleaned
}

func (c *cleaner) text(s string) string {
	s = s[:min(len(s), stringMax)]
	c.left -= len(s)
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// hostnameMax is the length of the longest name in DNS.
const hostnameMax = 253

// hostname is what a DNS server may call a machine. It is wider than the standard by
// the underscore, and means nothing to a shell, a template or a command line.
var hostname = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

// Hostname returns the name of a machine in DNS in its one spelling, in lower case and
// without the dot at its end, or nothing if it is not one.
func Hostname(name string) string {
	name = strings.TrimSuffix(name, ".")
	if len(name) > hostnameMax || !hostname.MatchString(name) {
		return ""
	}
	return strings.ToLower(name)
}

// Name returns what a backend calls a machine, which need not be a name in DNS: one of
// these, and an address, in its one spelling, anything else as a line of the same length
// at most.
func Name(name string) string {
	return cmp.Or(Address(name), Hostname(name), first(hostnameMax, Line(name).String()))
}

var zone = regexp.MustCompile(`^[A-Za-z0-9_.-]*$`)

// Address returns an IP address in its one spelling, or nothing if it is not one.
func Address(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || !zone.MatchString(ip.Zone()) {
		return ""
	}
	return ip.Unmap().String()
}

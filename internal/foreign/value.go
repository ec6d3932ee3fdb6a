package foreign

import (
	"net/netip"
	"regexp"
	"strings"
)

// stringMax is how many bytes a string in data may have. Longer ones are cut.
const stringMax = 64 << 10

// Data returns data that both databases can store, whatever it was: its strings and
// keys, at any depth, are UTF-8 without U+0000, and have at most 64 KiB. Everything
// else stays as it is, since deprovisioning is matched by it. data is not changed.
func Data(data map[string]any) map[string]any {
	if data == nil {
		return nil
	}
	return value(data).(map[string]any)
}

func value(v any) any {
	switch v := v.(type) {
	case string:
		return stored(v)
	case map[string]any:
		cleaned := make(map[string]any, len(v))
		for key, item := range v {
			cleaned[stored(key)] = value(item)
		}
		return cleaned
	case []any:
		cleaned := make([]any, len(v))
		for i, item := range v {
			cleaned[i] = value(item)
		}
		return cleaned
	case []string:
		cleaned := make([]any, len(v))
		for i, item := range v {
			cleaned[i] = stored(item)
		}
		return cleaned
	default:
		return v
	}
}

func stored(s string) string {
	s = s[:min(len(s), stringMax)]
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// hostnameMax is the length of the longest name in DNS.
const hostnameMax = 253

// hostname is what a DNS server may call a machine. It is wider than the standard by
// the underscore, and means nothing to a shell, a template or a command line.
var hostname = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

// Hostname returns the name of a machine as DNS tells it, without the dot at its end,
// or nothing if it is not one.
func Hostname(name string) string {
	name = strings.TrimSuffix(name, ".")
	if len(name) > hostnameMax || !hostname.MatchString(name) {
		return ""
	}
	return name
}

// Name returns what a backend calls a machine, which need not be a name in DNS, as a
// line of the same length at most.
func Name(name string) string { return first(hostnameMax, Line(name).String()) }

var zone = regexp.MustCompile(`^[A-Za-z0-9_.-]*$`)

// Address returns an IP address in its one spelling, or nothing if it is not one.
func Address(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || !zone.MatchString(ip.Zone()) {
		return ""
	}
	return ip.Unmap().String()
}

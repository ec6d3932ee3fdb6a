package config

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// resolve returns what a scalar means: nil, a bool, int64, float64 or string.
func resolve(n *yaml.Node) any {
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	switch {
	case n.Tag == "!", n.Style&yaml.TaggedStyle != 0 && n.ShortTag() == "!!str":
		return n.Value
	case n.Style&quoted != 0 && n.Style&yaml.TaggedStyle == 0:
		return n.Value
	default:
		return resolvePlain(n.Value)
	}
}

var (
	integer  = regexp.MustCompile(`^[-+]?(0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$`)
	floating = regexp.MustCompile(`^([-+]?[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+][0-9]+)?$`)
	base60   = regexp.MustCompile(`^[-+]?([1-9][0-9_]*(:[0-5]?[0-9])+|[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*)$`)
)

// resolvePlain returns what a scalar without quotes means in YAML 1.1, which
// Duffy 3's users wrote, where the library knows 1.2: "yes" is true, "017" and
// "0:15.0" are 15, and "1e3" is a string. Dates, infinities and numbers that do
// not fit stay strings.
func resolvePlain(text string) any {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true
	case "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false
	}
	digits := strings.ReplaceAll(text, "_", "")
	switch {
	case integer.MatchString(text):
		if n, err := strconv.ParseInt(digits, 0, 64); err == nil {
			return n
		}
	case floating.MatchString(text):
		if f, err := strconv.ParseFloat(digits, 64); err == nil {
			return f
		}
	case base60.MatchString(text):
		n := parseBase60(digits)
		if math.Abs(n) > maxExact {
			break
		}
		if strings.Contains(digits, ".") {
			return n
		}
		return int64(n)
	}
	return text
}

// maxExact is the greatest whole number up to which a float64 tells all apart.
const maxExact = 1 << 53

func parseBase60(digits string) float64 {
	var n float64
	for part := range strings.SplitSeq(strings.TrimLeft(digits, "+-"), ":") {
		f, _ := strconv.ParseFloat(part, 64)
		n = n*60 + f
	}
	if strings.HasPrefix(digits, "-") {
		return -n
	}
	return n
}

//go:build tools

// Package tools keeps what generated clients of the API import.
package tools

import _ "github.com/oapi-codegen/runtime"

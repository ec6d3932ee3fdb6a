package httpapi

import (
	"net/http"

	swagger "github.com/swaggest/swgui/v5emb"
)

// docs shows the API in a browser, without fetching anything from elsewhere.
func docs() http.Handler {
	return swagger.New("Duffy", "../openapi.json", "/docs/")
}

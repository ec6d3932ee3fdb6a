package httpapi

import (
	"embed"
	"net/http"
	"strings"

	swagger "github.com/swaggest/swgui/v5emb"
)

//go:embed docs
var pages embed.FS

// docs shows the API in a browser. It fetches nothing from elsewhere. The page is our
// own, since the one that comes with Swagger UI has inline scripts.
func docs() http.Handler {
	assets := swagger.New("Duffy", "", "/docs/")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		w.Header().Set("Cache-Control", "no-cache") // which asks whether they are the same still
		switch file := strings.TrimPrefix(r.URL.Path, "/docs/"); file {
		case "":
			http.ServeFileFS(w, r, pages, "docs/index.html")
		case "duffy.css", "duffy.js":
			http.ServeFileFS(w, r, pages, "docs/"+file)
		default:
			assets.ServeHTTP(w, r)
		}
	})
}

package httpapi

import (
	"compress/gzip"
	"net/http"

	"github.com/klauspost/compress/gzhttp"
)

// lengthNoise is by how many bytes at most the length of a compressed answer varies with
// what is in it: from lengths somebody who sees them, and can put text into an answer,
// could guess what else is in it.
const lengthNoise = 64

// compressed compresses answers to GET with gzip, for clients that ask for it. Answers to
// other requests carry API keys, and are small. A list is compressed while it is written.
func compressed(next http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(
		gzhttp.CompressionLevel(gzip.BestSpeed), gzhttp.EnableZstd(false), // which takes megabytes for each answer
		gzhttp.RandomJitter(lengthNoise, 0, true), gzhttp.SetContentType(false),
	)
	if err != nil {
		panic(err) // only for levels that do not exist
	}
	reading := wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if reads(r.Method) {
			reading(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

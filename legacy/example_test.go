package legacy_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/duffy-ci/duffy/legacy"
)

// The legacy API is served beside the REST API, in one process. With URL in place
// of API it works with a server elsewhere.
func Example() {
	rest := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // in fact Duffy.Handler
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"action": "post", "session": {"id": 5, "nodes": [{"hostname": "n7.ci.example.net"}]}}`)
	})
	old, err := legacy.New(legacy.Config{
		API:   rest,
		Users: map[string]string{"a8b9899d-b128-59a1-aa86-754920b7f5ed": "systemd"},
		Pools: []legacy.Mapping{
			{Arch: "^(aarch64|ppc64le)$", Pool: "virtual-centos{{ ver }}-{{ arch }}-{{ flavor | default('medium') }}"},
			{Arch: "x86_64", Pool: "physical-centos{{ ver }}-x86_64"},
		},
		MangleHostname: "{{ hostname.split('.')[0] }}",
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", rest)
	mux.Handle("/Node/", old)
	mux.Handle("/Inventory", old)
	server := httptest.NewServer(mux)
	defer server.Close()

	res, err := http.Get(server.URL + "/Node/get?key=a8b9899d-b128-59a1-aa86-754920b7f5ed&ver=7&arch=x86_64")
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	fmt.Println(string(answer), err)
	// Output: {"ssid":5,"hosts":["n7"]} <nil>
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
)

// A session is requested, used and given back, even if ctx has ended by then.
func Example() {
	duffy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			fmt.Fprint(w, `{"action": "put", "session": {"id": 5, "active": false}}`)
			return
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"action": "post", "session": {"id": 5, "active": true, "nodes": [{"hostname": "n1.example.net"}]}}`)
	}))
	defer duffy.Close()

	ctx := context.Background()
	c, err := client.New(duffy.URL+"/api/v1", client.Config{Tenant: "systemd", Key: "a8b9899d-b128-59a1-aa86-754920b7f5ed"})
	if err != nil {
		log.Fatal(err)
	}
	session, err := c.RequestSession(ctx, apiv1.SessionCreate{
		NodesSpecs: []apiv1.NodesSpec{{Quantity: 1, Pool: "virtual-centos9s-small-x86_64"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, node := range session.Nodes {
		fmt.Println("session", session.ID, "has", *node.Hostname)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	session, err = c.RetireSession(ctx, session.ID)
	fmt.Println("active:", session.Active, err)
	// Output:
	// session 5 has n1.example.net
	// active: false <nil>
}

// What went wrong, and whether asking again may help.
func ExampleError() {
	duffy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"detail": "contextualization of nodes failed"}`)
	}))
	defer duffy.Close()

	c, err := client.New(duffy.URL+"/api/v1", client.Config{})
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.RequestSession(context.Background(), apiv1.SessionCreate{})
	var refused *client.Error
	if errors.As(err, &refused) && refused.RetryAfter != nil {
		fmt.Printf("%s, again in %s\n", refused.Detail, *refused.RetryAfter)
	}
	// Output: contextualization of nodes failed, again in 30s
}

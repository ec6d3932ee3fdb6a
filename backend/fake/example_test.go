package fake_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
)

func Example() {
	machines := fake.New()
	machines.Inject(fake.Fault{In: fake.Provision, Times: 1, Err: errors.New("out of quota")})

	for range 2 {
		_, err := machines.Provision(context.Background(), backend.Request{Nodes: []backend.Node{{ID: 1}}})
		fmt.Println(err, len(machines.Machines()))
	}
	// Output:
	// out of quota 0
	// <nil> 1
}

package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
	"golang.org/x/crypto/bcrypt"

	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/tenant"
)

// addTestData adds the tenants and nodes that Duffy 3's test data has.
func (p *program) addTestData(ctx context.Context, database *bun.DB) error {
	p.printf("Creating test data\n")
	tenants := []*tenant.Tenant{
		{Name: "admin", SSHKey: "Boo", IsAdmin: true},
		{Name: "tenant", SSHKey: "Boo!"},
	}
	for _, t := range tenants {
		hash, err := bcrypt.GenerateFromPassword([]byte(testKey(t.Name)), tenant.DefaultBcryptCost)
		if err != nil {
			return err
		}
		t.APIKeyHash = string(hash)
	}
	nodes := testNodes()
	err := database.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(&tenants).Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(&nodes).Exec(ctx)
		return err
	})
	if err != nil {
		return err
	}
	p.printf("Caution! Created tenants with deterministic API keys:\n")
	for _, t := range tenants {
		p.printf("\t%s:%s\n", t.Name, testKey(t.Name))
	}
	p.printf("Don't use in production!\n")
	return nil
}

// testKey is the same for everybody who knows the tenant's name.
func testKey(name string) string { return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String() }

func testNodes() []*pool.Node {
	nodes := []*pool.Node{
		testMachine(1, "physical-centos8stream-x86_64"),
		testMachine(2, "physical-fedora35-x86_64"),
		testMachine(3, ""),
		testMachine(4, ""),
	}
	for subnet, flavor := range []struct {
		name  string
		nodes int
	}{{"small", 40}, {"medium", 20}, {"large", 10}} {
		for i := 1; i <= flavor.nodes; i++ {
			distro := "centos8stream"
			if i%2 == 1 {
				distro = "fedora35"
			}
			nodes = append(nodes, &pool.Node{
				Hostname: fmt.Sprintf("node-opennebula-%s-%d.example.net", flavor.name, i),
				IPAddr:   fmt.Sprintf("192.168.%d.%d", subnet+1, 10+i),
				Pool:     fmt.Sprintf("virtual-%s-x86_64-%s", distro, flavor.name),
				State:    pool.Ready,
			})
		}
	}
	return nodes
}

func testMachine(i int, poolName string) *pool.Node {
	n := &pool.Node{
		Hostname: fmt.Sprintf("node-seamicro-%d.example.net", i),
		IPAddr:   fmt.Sprintf("192.168.0.%d", 10+i),
		Pool:     poolName, State: pool.Ready,
		Data: pool.Data{"architecture": "x86_64"},
	}
	if poolName == "" {
		n.State = pool.Unused
	}
	return n
}

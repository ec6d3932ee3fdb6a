package legacy

import "crypto/sha256"

// users are names of tenants by digests of their keys: how long it takes to look
// one up says nothing about the keys that are there.
type users map[[sha256.Size]byte]string

func digestUsers(byKey map[string]string) users {
	u := users{}
	for key, tenant := range byKey {
		u[sha256.Sum256([]byte(key))] = tenant
	}
	return u
}

// tenant returns the tenant whose key it is, "" if there is none.
func (u users) tenant(key string) string { return u[sha256.Sum256([]byte(key))] }

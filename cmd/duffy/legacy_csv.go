package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/duffy-ci/duffy/tenant"
)

// A legacyUser is whoever has a key of the legacy API.
type legacyUser struct {
	key, tenant string
	sshKeys     []string
}

func (u *legacyUser) disabled() bool { return strings.HasSuffix(u.key, "DISABLED") }

// unfit tells why the user cannot be a tenant, nothing if it can.
func (u *legacyUser) unfit() string {
	switch {
	case u.disabled():
		return "disabled"
	case len(u.sshKeys) == 0:
		return "no SSH key"
	}
	return ""
}

// tenantWithKey returns the tenant that the user becomes.
func (u *legacyUser) tenantWithKey() tenant.Import {
	return tenant.Import{
		Tenant: tenant.Tenant{Name: u.tenant, SSHKey: strings.Join(u.sshKeys, "\n")},
		Key:    u.key,
	}
}

// readLegacyUsers returns the users in the order of their file, with their ssh
// keys out of the other one. It reports all that is wrong in a file, at its line.
func readLegacyUsers(usersFile, userkeysFile string) ([]*legacyUser, error) {
	users, err := readUsers(usersFile)
	if err != nil {
		return nil, err
	}
	rows, err := readCSV(userkeysFile, "id", "key", "ssh key")
	errs := []error{err}
	for _, row := range rows {
		key, sshKey := row.fields[1], strings.TrimSpace(row.fields[2])
		i := slices.IndexFunc(users, func(u *legacyUser) bool { return u.key == key })
		switch {
		case i < 0:
			errs = append(errs, row.errorf("there is no user with this key in %s", usersFile))
		case !users[i].disabled() && tenant.CheckSSHKey(sshKey) != nil:
			errs = append(errs, row.errorf("%w", tenant.CheckSSHKey(sshKey)))
		case sshKey != "":
			users[i].sshKeys = append(users[i].sshKeys, sshKey)
		}
	}
	return users, errors.Join(errs...)
}

func readUsers(file string) ([]*legacyUser, error) {
	rows, err := readCSV(file, "key", "project", "tenant", "created", "limit")
	var users []*legacyUser
	errs := []error{err}
	lineOfKey, lineOfTenant := map[string]int{}, map[string]int{}
	for _, row := range rows {
		u := &legacyUser{key: row.fields[0], tenant: row.fields[2]}
		switch {
		case u.key == "" || u.tenant == "":
			errs = append(errs, row.errorf("a user needs a key and a tenant"))
		case lineOfKey[u.key] > 0:
			errs = append(errs, row.errorf("the key is that of line %d too", lineOfKey[u.key]))
		case !u.disabled() && lineOfTenant[u.tenant] > 0:
			errs = append(errs, row.errorf("tenant %s is in line %d too", u.tenant, lineOfTenant[u.tenant]))
		}
		lineOfKey[u.key] = row.line
		if !u.disabled() {
			lineOfTenant[u.tenant] = row.line
		}
		users = append(users, u)
	}
	return users, errors.Join(errs...)
}

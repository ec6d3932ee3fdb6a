package tenant

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
)

// PrimaryKey is the name of the key that every tenant has: the one that Duffy 3
// knows too.
const PrimaryKey = "primary"

// KeysMax is how many keys that have neither expired nor been retired a tenant can
// have beside its primary key.
const KeysMax = 10

// A Scope says what a key allows.
type Scope string

// The scopes of keys. A scope that this version does not know counts as ReadOnly.
const (
	Full     Scope = "full"
	ReadOnly Scope = "read-only"
)

// A Key is one of the API keys of a tenant. The key itself is stored nowhere.
type Key struct {
	bun.BaseModel `bun:"table:api_keys,alias:k"`

	ID       int64 `bun:",pk,autoincrement"` // 0 for a primary key without a row
	TenantID int64
	Name     string
	Scope    Scope

	CreatedAt  *time.Time // nil if it is not known
	ExpiresAt  *time.Time // nil for never
	LastUsedAt *time.Time // nil for never, or not since Duffy keeps it; up to a minute old
	RetiredAt  *time.Time // nil while the key is not retired

	// StandsFor is the bcrypt hash in tenants.api_key to which the row of a primary
	// key belongs. The row says nothing about any other.
	StandsFor *string

	// Hash is the SHA-256 of Salt and key. Both are nil if the key may be guessed:
	// then only its bcrypt hash is stored.
	Salt, Hash []byte
}

// Expired reports whether the key has stopped working by now.
func (k *Key) Expired(now time.Time) bool { return k.ExpiresAt != nil && !k.ExpiresAt.After(now) }

// is reports whether k has a hash of its own, which is that of key.
func (k *Key) is(key string) bool {
	return k.Hash != nil && subtle.ConstantTimeCompare(k.Hash, digestOf(k.Salt, key)) == 1
}

// stored returns what the database holds of the key, which changes with the key.
func (k *Key) stored() string {
	if k.StandsFor != nil {
		return *k.StandsFor
	}
	return string(k.Hash)
}

func (k *Key) setHash(key string) {
	k.Salt = make([]byte, 16)
	rand.Read(k.Salt)
	k.Hash = digestOf(k.Salt, key)
}

func digestOf(salt []byte, key string) []byte {
	sum := sha256.Sum256(slices.Concat(salt, []byte(key)))
	return sum[:]
}

// keyMax is how many bytes of a key bcrypt looks at.
const keyMax = 72

// checkKey refuses keys that bcrypt cannot tell from others: it ignores what comes
// after 72 bytes, and repeats shorter keys with a NUL in between.
func checkKey(key string) error {
	switch {
	case key == "":
		return fault.Newf(fault.Invalid, "key: it must not be empty")
	case len(key) > keyMax:
		return fault.Newf(fault.Invalid, "key: it must not be longer than %d bytes", keyMax)
	case strings.ContainsRune(key, 0):
		return fault.Newf(fault.Invalid, "key: it must not contain a NUL")
	}
	return nil
}

// random reports whether key has the form of the keys that Duffy makes, which have
// 122 random bits.
func random(key string) bool {
	id, err := uuid.Parse(key)
	return err == nil && id.Version() == 4 && id.String() == key
}

// primary returns the row for the tenant's primary key, which is key.
func (t *Tenant) primary(key string) *Key {
	k := &Key{TenantID: t.ID, Name: PrimaryKey, Scope: Full, StandsFor: &t.APIKeyHash}
	if random(key) {
		k.setHash(key)
	}
	return k
}

// savePrimary writes the row of a primary key, unless the tenant has another
// primary key by now.
func savePrimary(ctx context.Context, d bun.IDB, k *Key) error {
	_, err := d.NewRaw(`INSERT INTO api_keys (tenant_id, name, scope, stands_for, salt, hash, created_at, last_used_at)
		SELECT id, ?, ?, api_key, ?, ?, ?, ? FROM tenants WHERE id = ? AND api_key = ?
		ON CONFLICT (tenant_id, name) WHERE retired_at IS NULL DO UPDATE SET scope = excluded.scope,
		stands_for = excluded.stands_for, salt = excluded.salt, hash = excluded.hash,
		created_at = excluded.created_at, last_used_at = excluded.last_used_at`,
		k.Name, k.Scope, k.Salt, k.Hash, k.CreatedAt, k.LastUsedAt, k.TenantID, k.StandsFor).Exec(ctx)
	return err
}

// A NewKey says what key to make for a tenant.
type NewKey struct {
	Name      string // DefaultKeyName if empty
	Scope     Scope  // Full if empty
	ExpiresAt *time.Time
}

// DefaultKeyName is the name of a key made without one.
const DefaultKeyName = "second"

var keyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CreateKey adds an API key to the tenant with id and returns it; the key is
// stored nowhere in the clear. A name that an unretired key of the tenant has is a
// fault.Conflict. A retired tenant, a tenant with KeysMax keys and an ExpiresAt in
// the past are a fault.Invalid.
func (s *Service) CreateKey(ctx context.Context, id int64, n NewKey) (*Key, uuid.UUID, error) {
	now := s.now()
	k := &Key{TenantID: id, Name: cmp.Or(n.Name, DefaultKeyName), Scope: cmp.Or(n.Scope, Full), CreatedAt: &now}
	if n.ExpiresAt != nil {
		at := n.ExpiresAt.UTC().Truncate(time.Microsecond)
		k.ExpiresAt = &at
	}
	if err := k.check(now); err != nil {
		return nil, uuid.Nil, err
	}
	key := uuid.New()
	k.setHash(key.String())
	err := s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		t, err := s.LockTx(ctx, tx, id)
		if err != nil {
			return err
		}
		if !t.Active() {
			return errRetired(t)
		}
		others, err := tx.NewSelect().Model((*Key)(nil)).Where("tenant_id = ? AND stands_for IS NULL", id).
			Where("retired_at IS NULL AND (expires_at IS NULL OR expires_at > ?)", now).Count(ctx)
		if err != nil {
			return err
		}
		if others >= KeysMax {
			return fault.Newf(fault.Invalid, "tenant '%s' has %d keys beside its primary key, which is the limit: retire one", t.Name, others)
		}
		_, err = tx.NewInsert().Model(k).Returning("id").Exec(ctx)
		if _, taken := db.UniqueViolation(err); taken {
			return fault.Wrap(fault.Conflict, err, fmt.Sprintf("tenant '%s' has a key '%s' already: retire it or choose another name", t.Name, k.Name))
		}
		return err
	})
	if err != nil {
		return nil, uuid.Nil, err
	}
	return k, key, nil
}

func (k *Key) check(now time.Time) error {
	switch {
	case k.Name == PrimaryKey:
		return fault.Newf(fault.Invalid, "name: '%s' is the name of the key that every tenant has", PrimaryKey)
	case !keyName.MatchString(k.Name):
		return fault.Newf(fault.Invalid, "name: expected 1 to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit")
	case k.Scope != Full && k.Scope != ReadOnly:
		return fault.Newf(fault.Invalid, "scope: expected %s or %s", Full, ReadOnly)
	case k.Expired(now):
		return fault.Newf(fault.Invalid, "expires_at: expected a time in the future")
	}
	return nil
}

// RetireKey makes a key of the tenant with id stop working at once. The primary
// key cannot be retired, only changed by [Service.Update]: fault.Invalid. An
// unknown key, or one that is retired already, is a fault.NotFound.
func (s *Service) RetireKey(ctx context.Context, id int64, name string) (*Key, error) {
	if name == PrimaryKey {
		return nil, fault.Newf(fault.Invalid, "name: the primary key can't be retired, only reset")
	}
	k, now := new(Key), s.now()
	res, err := s.db.NewUpdate().Model(k).Set("retired_at = ?", now).
		Where("tenant_id = ? AND name = ? AND retired_at IS NULL", id, name).Returning("*").Exec(ctx)
	if err != nil {
		return nil, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return nil, fault.Newf(fault.NotFound, "there is no key '%s' to retire", name)
	}
	return k, nil
}

// Keys returns the keys of the tenant with id, the primary key first, retired and
// expired ones too, or a fault.NotFound.
func (s *Service) Keys(ctx context.Context, id int64) ([]*Key, error) {
	t, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	var rows []*Key
	if err := s.db.NewSelect().Model(&rows).Where("tenant_id = ?", id).Order("id").Scan(ctx); err != nil {
		return nil, err
	}
	return t.keys(rows), nil
}

// keys returns rows with the tenant's primary key in front, which may have no row,
// or one that stands for a former primary key.
func (t *Tenant) keys(rows []*Key) []*Key {
	keys := []*Key{{TenantID: t.ID, Name: PrimaryKey, Scope: Full, StandsFor: &t.APIKeyHash}}
	for _, k := range rows {
		switch {
		case k.StandsFor == nil:
			keys = append(keys, k)
		case *k.StandsFor == t.APIKeyHash:
			keys[0] = k
		}
	}
	return keys
}

package tenant

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/uptrace/bun"
	"golang.org/x/sync/semaphore"
)

// useEvery is how often the use of a key is written, at most.
const useEvery = time.Minute

// usePatience is how long that may take, after which it is not written.
const usePatience = 10 * time.Second

// uses writes to the database when keys were last used. It does so in the
// background: no login waits for it.
type uses struct {
	db  *bun.DB
	log *slog.Logger
	now func() time.Time

	writing *semaphore.Weighted // one after the other, however many keys are used
	mu      sync.Mutex
	noted   *simplelru.LRU[string, time.Time] // by what is stored of keys
}

func newUses(db *bun.DB, log *slog.Logger, now func() time.Time) *uses {
	noted, err := simplelru.NewLRU[string, time.Time](verifiedMax, nil)
	if err != nil {
		panic(err) // only for sizes below 1
	}
	return &uses{db: db, log: log, now: now, writing: semaphore.NewWeighted(1), noted: noted}
}

// note writes that key, which is k, was used now. A primary key without a row gets
// one.
func (u *uses) note(t *Tenant, k *Key, key string) {
	now := u.now()
	if !u.due(k, now) {
		return
	}
	write := func(ctx context.Context) error { return u.update(ctx, k, now) }
	if k.ID == 0 {
		row := t.primary(key)
		row.LastUsedAt = &now
		write = func(ctx context.Context) error { return savePrimary(ctx, u.db, row) }
	}
	go func() {
		if err := u.write(write); err != nil {
			u.log.Debug("cannot write when a key was last used", "tenant", t.Name, "key", k.Name, "err", err)
		}
	}()
}

func (u *uses) write(write func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), usePatience)
	defer cancel()
	if err := u.writing.Acquire(ctx, 1); err != nil {
		return err
	}
	defer u.writing.Release(1)
	return write(ctx)
}

// due reports whether a use of k has to be written, and is false for a minute then.
func (u *uses) due(k *Key, now time.Time) bool {
	if k.LastUsedAt != nil && now.Sub(*k.LastUsedAt) < useEvery {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if last, ok := u.noted.Get(k.stored()); ok && now.Sub(last) < useEvery {
		return false
	}
	u.noted.Add(k.stored(), now)
	return true
}

func (u *uses) update(ctx context.Context, k *Key, now time.Time) error {
	_, err := u.db.NewUpdate().Model((*Key)(nil)).Set("last_used_at = ?", now).Where("id = ?", k.ID).
		Where("last_used_at IS NULL OR last_used_at < ?", now).Exec(ctx)
	return err
}

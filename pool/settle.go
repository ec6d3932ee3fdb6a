package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/queue"
)

// ownAddress holds the lease of nodes that wait for another one to give their address back.
// It has no end.
const ownAddress = "waits for its address"

// settleProvisioned writes down what became of the nodes of a run, all at once: this process
// alone knows it. seen is how the machines were when they were inspected.
func (s *Service) settleProvisioned(ctx context.Context, r *run, seen map[int64]backend.Inspection) (all []outcome, err error) {
	failed := func(err error) {
		s.log.WarnContext(ctx, "cannot write down what a backend told, trying again", "pool", r.pool, "owner", r.owner, "err", err)
	}
	err = db.Insist(ctx, s.db, settleTimeout, failed, func(ctx context.Context, tx bun.Tx) error {
		all, err = s.settleTx(ctx, tx, r, seen)
		return err
	})
	if err != nil {
		s.log.ErrorContext(ctx, "cannot write down what a backend told: look for its machines", "pool", r.pool, "told", r.got, "err", err)
		return nil, err
	}
	s.report(ctx, r, all)
	return all, nil
}

// recheck looks again at nodes that wait for their address.
func (s *Service) recheck(ctx context.Context) error {
	var nodes []*Node
	q := db.SkipLocked(s.db.NewSelect().Model(&nodes).
		Where("state = ?", Provisioning).Where("retired_at IS NULL").
		Where("lease_owner = ?", ownAddress))
	errs := []error{due(q, s.now(), pauseMin).Scan(ctx)}
	for _, n := range nodes {
		r := &run{owner: ownAddress, pool: n.Pool, config: s.cfg.Pools.Get(n.Pool), nodes: []*Node{n}, got: []backend.Node{n.ForBackend()}}
		var all []outcome
		err := db.Briefly(ctx, s.db, func(ctx context.Context, tx bun.Tx) (err error) {
			all, err = s.settleTx(ctx, tx, r, nil)
			return err
		})
		switch _, taken := db.UniqueViolation(err); {
		case err == nil:
			s.report(ctx, r, all)
		case taken, errors.Is(err, errMoved), db.Held(err): // just now: the next reconcile sees by whom
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *Service) settleTx(ctx context.Context, tx bun.Tx, r *run, seen map[int64]backend.Inspection) ([]outcome, error) {
	rows, taken, err := s.around(ctx, tx, r)
	if err != nil {
		return nil, err
	}
	all := r.outcomes(rows, taken)
	var again []*Node
	for _, o := range all {
		if err := s.applyTx(ctx, tx, r, o, seen); err != nil {
			return nil, err
		}
		if o.fate == startsOver {
			again = append(again, o.row)
		}
	}
	if count(all, getsReady) > 0 {
		if err := s.workedTx(ctx, tx, r.pool); err != nil {
			return nil, err
		}
	}
	if reason := blame(all); reason != "" {
		if err := errors.Join(s.forgetFailed(ctx, tx, r.pool), s.failedTx(ctx, tx, r.pool, reason)); err != nil {
			return nil, err
		}
	}
	var jobs []queue.Job
	if r.stopped {
		jobs = append(s.provisionJobs(again), s.FillJobs(r.pool)...)
	}
	return all, s.queue.Insert(ctx, tx, jobs...)
}

func count(all []outcome, f fate) (n int) {
	for _, o := range all {
		if o.fate == f {
			n++
		}
	}
	return n
}

// around returns the rows of a run's nodes as they are now, and what names and addresses
// others have.
func (s *Service) around(ctx context.Context, tx bun.Tx, r *run) (map[int64]*Node, *taken, error) {
	ids := make([]int64, len(r.nodes))
	for i, n := range r.nodes {
		ids[i] = n.ID
	}
	var nodes []*Node
	if err := tx.NewSelect().Model(&nodes).Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, nil, err
	}
	rows := make(map[int64]*Node, len(nodes))
	for _, n := range nodes {
		rows[n.ID] = n
	}
	names := []string{""}
	for i := range r.got {
		n := &r.got[i]
		name, err := storable(ctx, tx, n.Hostname)
		if err != nil {
			return nil, nil, err
		}
		n.Hostname = name
		names = append(names, n.Hostname, n.IPAddr)
	}
	holders, err := s.holders(ctx, tx, names, ids...)
	return rows, holders, err
}

// holders returns who has any of some names and addresses, but for nodes that are asked for. A
// failed node has them as long as its machine is to be removed.
func (s *Service) holders(ctx context.Context, tx bun.Tx, names []string, but ...int64) (*taken, error) {
	var nodes []*Node
	err := tx.NewSelect().Model(&nodes).
		Where("retired_at IS NULL").Where("id NOT IN (?)", bun.List(but)).
		Where("state <> ?", Provisioning).Where("state <> ? OR retry_at IS NOT NULL", Failed).
		Where("hostname IN (?0) OR ipaddr IN (?0)", bun.List(names)).
		Order("id").Scan(ctx)
	t := &taken{addresses: map[string]*Node{}, names: map[string]bool{}}
	for _, n := range nodes {
		t.add(n)
	}
	return t, err
}

var errMoved = errors.New("the node was moved at the same time")

// applyTx writes an outcome down, if the node's row is still as the outcome was made for.
func (s *Service) applyTx(ctx context.Context, tx bun.Tx, r *run, o outcome, seen map[int64]backend.Inspection) error {
	if o.row == nil {
		return s.keepTx(ctx, tx, r.pool, o)
	}
	if o.fate == isTheirs {
		return nil
	}
	q := tx.NewUpdate().Model((*Node)(nil)).
		Where("id = ?", o.row.ID).Where("state = ?", o.row.State).
		Where("COALESCE(lease_owner, '') = ?", o.row.LeaseOwner)
	s.set(q, o, seen)
	res, err := q.Exec(ctx)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return fmt.Errorf("node %d: %w", o.row.ID, errMoved)
}

// set has q write an outcome.
func (s *Service) set(q *bun.UpdateQuery, o outcome, seen map[int64]backend.Inspection) {
	now := s.now()
	data := map[string]any{"error": failure(now, o.reason)}
	if len(o.told.Provision) > 0 {
		data["provision"] = o.told.Provision
	}
	switch o.fate {
	case getsReady:
		delete(data, "error")
		if i, ok := seen[o.row.ID]; ok {
			data["ssh"] = i
		}
		mergeData(s.becomes(q, Ready), data, "error", "ssh").
			Set("ipaddr = ?", o.told.IPAddr).Set("hostname = ?", bun.NullZero(o.name)).
			Set("attempts = 0").Set("retry_at = NULL")
	case waits:
		mergeData(q, data, "ssh").
			Set("ipaddr = ?", o.told.IPAddr).Set("hostname = ?", bun.NullZero(o.told.Hostname)).
			Set("lease_owner = ?", ownAddress).Set("lease_until = NULL").
			Set("attempts = ?", o.row.Attempts+1).Set("retry_at = ?", now.Add(pauseMin))
	case isRemoved:
		mergeData(s.becomes(q, Failed), data).
			Set("session_id = NULL").Set("retired_at = NULL").
			Set("attempts = 0").Set("retry_at = ?", now)
		if !o.row.Reusable {
			q.Set("ipaddr = ?", bun.NullZero(o.told.IPAddr)).Set("hostname = ?", bun.NullZero(o.told.Hostname))
		}
	case fails:
		mergeData(s.becomes(q, Failed), data).Set("retry_at = NULL")
	case isLost:
		setData(s.becomes(q, Failed), "error", interruption(now, o.reason)).Set("retry_at = NULL")
	case goesBack:
		mergeData(s.becomes(q, Unused), data, "provision").
			Set("pool = NULL").
			Set("attempts = ?", o.row.Attempts+1).Set("retry_at = ?", now.Add(pause(o.row.Attempts+1)))
	case startsOver:
		setData(free(q), "error", interruption(now, o.reason))
	case isKept:
		setData(q, "provision", o.told.Provision)
		if o.row.State == Deprovisioning { // once more, by all that is known
			free(q).Set("retry_at = NULL")
		}
	}
}

// keepTx makes a node of a machine that no node is there for, so that it is removed, unless
// there is one already.
func (s *Service) keepTx(ctx context.Context, tx bun.Tx, pool string, o outcome) error {
	var known []*Node
	err := tx.NewSelect().Model(&known).Column("data").
		Where("pool = ?", pool).Where("retired_at IS NULL").
		Where("state IN (?)", bun.List([]State{Failed, Deprovisioning})).Scan(ctx)
	if err != nil {
		return err
	}
	for _, n := range known {
		if sameData(n.provision(), o.told.Provision) {
			return nil
		}
	}
	now := s.now()
	n := &Node{
		ID: o.told.ID, State: Failed, Pool: pool, Hostname: o.told.Hostname, IPAddr: o.told.IPAddr,
		Data:      Data{"provision": o.told.Provision, "error": failure(now, o.reason)},
		CreatedAt: now, StateSince: &now, RetryAt: &now,
	}
	_, err = tx.NewInsert().Model(n).Returning("id").Exec(ctx)
	return err
}

// failedKept is how many failed nodes a pool shows whose backend said that it
// could not make them.
const failedKept = 10

// forgetFailed retires the older ones of those failed nodes of a pool of which
// nothing is known but that the backend failed, so that they do not pile up.
func (s *Service) forgetFailed(ctx context.Context, tx bun.Tx, pool string) error {
	var ids []int64
	q := tx.NewSelect().Model((*Node)(nil)).Column("id").
		Where("pool = ?", pool).Where("state = ?", Failed).Where("retired_at IS NULL").
		Where("NOT reusable").Where("ipaddr IS NULL").
		Order("id DESC").Limit(1000).Offset(failedKept)
	if err := notInterrupted(q).Where("retry_at IS NULL").Scan(ctx, &ids); err != nil || len(ids) == 0 {
		return err
	}
	_, err := s.move(tx, Failed, Done, ids...).Set("retired_at = ?", s.now()).Exec(ctx)
	return err
}

// report tells log and metrics what became of the nodes of a run.
func (s *Service) report(ctx context.Context, r *run, all []outcome) {
	for _, o := range all {
		log := s.log.With("node", o.told.ID, "pool", r.pool, "hostname", o.name, "ipaddr", o.told.IPAddr)
		if r.ours(o.row) && (o.row.State != Provisioning || !o.row.Active()) {
			log.ErrorContext(ctx, "something other than Duffy moves nodes while they are provisioned: stop it", "state", o.row.State)
		}
		switch o.fate {
		case getsReady:
			log.InfoContext(ctx, "node ready")
		case waits:
			log.InfoContext(ctx, "node waits", "reason", o.reason)
		case isKept, isTheirs:
			log.WarnContext(ctx, "node was given up before its backend was done")
		case isRemoved, fails, isLost:
			s.logFailed(ctx, []*Node{{ID: o.told.ID, Pool: r.pool}}, Provisioning, o.reason)
		}
	}
}

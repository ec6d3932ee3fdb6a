package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/tenant"
)

// A Request asks for a session.
type Request struct {
	TenantID *int64 // whom it is for; nil is the acting tenant
	Specs    []Spec // none makes a session without nodes
}

// Request makes a session with all the nodes asked for, or none: it reserves
// them, gives the tenant access to them and replaces those that do not answer.
// Nothing is left behind if it fails or ctx ends.
//
// Errors say, in the words of Duffy 3, what cannot be had: fault.Invalid if
// there are not enough nodes or r is larger than a request may be,
// fault.Forbidden beyond a quota, and fault.Unavailable if nodes do not answer.
func (s *Service) Request(ctx context.Context, by *tenant.Tenant, r Request) (*Session, error) {
	began := time.Now()
	ses, err := s.request(ctx, by, r)
	s.metrics.requested(ctx, time.Since(began), ses, err)
	return ses, err
}

func (s *Service) request(ctx context.Context, by *tenant.Tenant, r Request) (*Session, error) {
	if err := checkSize(r.Specs); err != nil {
		return nil, err
	}
	tenantID, err := s.recipient(ctx, by, r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	pools := poolsOf(r.Specs)
	doubtful, err := s.reach.enter(pools)
	if err != nil {
		return nil, err
	}
	tried := false
	defer func() { s.reach.leave(pools, tried) }()
	h := &handOut{Service: s, owner: pool.NewOwner(), newest: doubtful}
	if err := h.reserve(ctx, tenantID, r.Specs); err != nil {
		if h.mayExist(ctx, err) {
			return nil, h.undo(context.WithoutCancel(ctx), err)
		}
		return nil, err
	}
	held, release := s.pools.HoldLease(ctx, h.owner)
	tried = true
	err = h.contextualize(held)
	release()
	if err == nil {
		err = h.deploy(ctx)
	}
	if err != nil {
		return nil, h.undo(context.WithoutCancel(ctx), err)
	}
	s.log.InfoContext(ctx, "session handed out", "session", h.session.ID, "tenant", h.session.Tenant.Name,
		"nodes", len(h.session.Nodes))
	return h.session, nil
}

// recipient returns whom the session is for, if the acting tenant may ask that.
func (s *Service) recipient(ctx context.Context, by *tenant.Tenant, r Request) (int64, error) {
	switch {
	case r.TenantID == nil:
		return by.ID, nil
	case !by.May(*r.TenantID):
		return 0, fault.Newf(fault.Forbidden, "can't create session for other tenant")
	}
	_, err := s.tenants.Get(ctx, *r.TenantID)
	if errors.Is(err, fault.NotFound) {
		err = fault.Newf(fault.Invalid, "can't find tenant with id %d", *r.TenantID)
	}
	return *r.TenantID, err
}

// A handOut is the making of one session.
type handOut struct {
	*Service
	owner   string // of the lease on the nodes
	newest  bool   // nodes are taken
	session *Session
	slots   []*slot
}

// A slot is one of the nodes asked for.
type slot struct {
	spec    Spec
	node    *pool.Node
	touched bool // the tenant's key may be on the node
}

// reserve makes the session, with nodes that are still to be contextualized. If
// too few are left beside those that other requests are about to take, it begins
// again and waits for them, since they may fail: it must not wait while it has
// nodes that they wait for.
func (h *handOut) reserve(ctx context.Context, tenantID int64, specs []Spec) error {
	err := h.begin(ctx, tenantID, specs, false)
	if errors.Is(err, pool.ErrContended) {
		err = h.begin(ctx, tenantID, specs, true)
	}
	return err
}

func (h *handOut) begin(ctx context.Context, tenantID int64, specs []Spec, wait bool) error {
	return h.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		t, err := h.tenants.LockTx(ctx, tx, tenantID)
		if err != nil {
			return err
		}
		if !t.Active() {
			return fault.Newf(fault.Invalid, "tenant %s isn't active", quoted(t.Name))
		}
		if err := h.checkQuota(ctx, tx, t, specs); err != nil {
			return err
		}
		now := h.now()
		expires := now.Add(h.tenants.Limits(t).SessionLifetime)
		h.session = &Session{TenantID: t.ID, Tenant: t, CreatedAt: now, ExpiresAt: &expires, Data: Data{specs}}
		if _, err := tx.NewInsert().Model(h.session).Returning("id").Exec(ctx); err != nil {
			return err
		}
		if err := h.reserveNodes(ctx, tx, specs, wait); err != nil {
			return err
		}
		jobs := []queue.Job{expireJob{h.session.ID, expires}}
		return h.queue.Insert(ctx, tx, append(jobs, h.pools.FillJobs(poolsOf(specs)...)...)...)
	})
}

// reserveNodes takes nodes of the pools in the order of their names, so that two
// requests that wait never wait for each other. It ends with the first pool that
// is short: the nodes taken until then are locked for others until tx ends.
func (h *handOut) reserveNodes(ctx context.Context, tx bun.Tx, specs []Spec, wait bool) error {
	h.slots = nil
	for _, i := range byPool(specs) {
		nodes, err := h.reserveTx(ctx, tx, specs[i], specs[i].Quantity, wait)
		if err != nil {
			return err
		}
		if len(nodes) < specs[i].Quantity {
			return h.short(ctx, tx, specs, i)
		}
		for _, n := range nodes {
			h.slots = append(h.slots, &slot{spec: specs[i], node: n})
		}
	}
	return h.record(ctx, tx, h.slots)
}

// byPool returns the indexes of specs in the order of their pools' names.
func byPool(specs []Spec) []int {
	order := make([]int, len(specs))
	for i := range specs {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(specs[a].Pool, specs[b].Pool) })
	return order
}

// short returns the error that there are not enough nodes for specs[found]. Like
// Duffy 3 it names the first spec that is short: of pools that come later by name,
// ready nodes are counted, not locked.
func (h *handOut) short(ctx context.Context, tx bun.Tx, specs []Spec, found int) error {
	wanted := map[string]int{}
	for _, spec := range specs[:found] {
		if spec.Pool <= specs[found].Pool {
			continue // reserved
		}
		wanted[spec.Pool] += spec.Quantity
		ready, err := h.pools.ReadyTx(ctx, tx, spec.Pool, wanted[spec.Pool])
		if err != nil {
			return err
		}
		if ready < wanted[spec.Pool] {
			return h.shortage(spec)
		}
	}
	return h.shortage(specs[found])
}

// shortage returns the error that a pool has not enough nodes for spec.
func (h *handOut) shortage(spec Spec) error {
	err := fault.Newf(fault.Invalid, "can't reserve nodes: quantity=%d pool=%s", spec.Quantity, quoted(spec.Pool))
	if c := h.pools.Pools().Get(spec.Pool); c == nil || c.Abstract {
		return err
	}
	h.metrics.shortages.WithLabelValues(spec.Pool).Inc()
	return refusal{err, outcomeEmpty}
}

func (h *handOut) reserveTx(ctx context.Context, tx bun.Tx, spec Spec, quantity int, wait bool) ([]*pool.Node, error) {
	return h.pools.ReserveTx(ctx, tx, pool.Reservation{
		Session: h.session.ID, Pool: spec.Pool, Quantity: quantity, Spec: spec, Owner: h.owner, Wait: wait, Newest: h.newest,
	})
}

// record writes down that the session holds the nodes of slots.
func (h *handOut) record(ctx context.Context, tx bun.Tx, slots []*slot) error {
	if len(slots) == 0 {
		return nil
	}
	holds := make([]hold, len(slots))
	for i, sl := range slots {
		holds[i] = hold{SessionID: h.session.ID, NodeID: sl.node.ID, Pool: sl.spec.Pool, Data: sl.node.Data}
	}
	_, err := tx.NewInsert().Model(&holds).Exec(ctx)
	return err
}

func poolsOf(specs []Spec) []string {
	names := make([]string, len(specs))
	for i, spec := range specs {
		names[i] = spec.Pool
	}
	return names
}

// quoted quotes s as Python's repr does for the names that occur here, since
// scripts match the texts that it is used in.
func quoted(s string) string {
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		return `"` + s + `"`
	}
	inner := strconv.Quote(s)
	inner = strings.ReplaceAll(inner[1:len(inner)-1], `\"`, `"`)
	return fmt.Sprintf("'%s'", strings.ReplaceAll(inner, "'", `\'`))
}

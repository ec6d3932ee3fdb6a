package pool

import "context"

// A Census is how pools are doing.
type Census struct {
	Levels   map[string]map[State]int // active nodes by pool, "" if they are in none
	Troubles []Trouble                // of pools that ever had any
}

// Census counts the active nodes of all pools, those that have no configuration
// too. It costs the same however many nodes are retired.
func (s *Service) Census(ctx context.Context) (Census, error) {
	var counts []struct {
		Pool  string `bun:",nullzero"`
		State State
		Count int
	}
	err := s.db.NewSelect().Model((*Node)(nil)).
		Column("pool", "state").ColumnExpr("count(*) AS count").
		Where("retired_at IS NULL").Group("pool", "state").Scan(ctx, &counts)
	if err != nil {
		return Census{}, err
	}
	c := Census{Levels: map[string]map[State]int{}}
	for _, n := range counts {
		if c.Levels[n.Pool] == nil {
			c.Levels[n.Pool] = map[State]int{}
		}
		c.Levels[n.Pool][n.State] = n.Count
	}
	return c, s.db.NewSelect().Model(&c.Troubles).Order("name").Scan(ctx)
}

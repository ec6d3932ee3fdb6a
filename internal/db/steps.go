package db

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed migrations
var migrations embed.FS

// A step is one change of the schema.
type step struct {
	name     string // an Alembic revision of Duffy 3, or a name of our own
	up, down string // SQL; Duffy 3's steps have no way down
}

// base is our name for what the tables of Duffy 3 were before its first revision.
const base = "base"

// steps returns the steps that make the tables of Duffy 3, and those that make our
// additions, each in order. SQLite databases are our own, so that they begin
// with Duffy 3's last revision.
func (d *DB) steps() (duffy3, ours []step) {
	dir := "migrations/sqlite"
	if d.Postgres() {
		dir = "migrations/postgres"
	}
	duffy3 = readSteps(path.Join(dir, "duffy3"))
	for i := range duffy3 {
		_, duffy3[i].name, _ = strings.Cut(duffy3[i].name, "_") // the number in front is for the order
	}
	return duffy3, readSteps(dir)
}

// readSteps reads the files of dir, NAME.up.sql and NAME.down.sql, in the order
// of their names.
func readSteps(dir string) []step {
	ups, err := fs.Glob(migrations, dir+"/*.up.sql")
	if err != nil || len(ups) == 0 {
		panic(fmt.Sprintf("db: no migrations in %s: %v", dir, err))
	}
	slices.Sort(ups)
	steps := make([]step, len(ups))
	for i, file := range ups {
		up, _ := migrations.ReadFile(file)
		down, _ := migrations.ReadFile(strings.TrimSuffix(file, ".up.sql") + ".down.sql")
		steps[i] = step{strings.TrimSuffix(path.Base(file), ".up.sql"), string(up), string(down)}
	}
	return steps
}

// stepIndex returns the place of the step called name, or -1.
func stepIndex(steps []step, name string) int {
	return slices.IndexFunc(steps, func(s step) bool { return s.name == name })
}
